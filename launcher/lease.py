"""Who supervises a run, told on its chief's host: two launchers never do, from whatever machines.

A lock on the host, held by a small command in a session of the one connection. It falls when that
connection does, and also when the launcher is gone without a word: the command expects a sign of
life every few seconds. Nothing is left behind: whichever way the command ends, it removes its file.
"""

import contextlib
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from launcher.errors import HostError
from launcher.user import user_name

BEAT_S = 5.0
LAPSE_S = 20.0  # without a sign of life
_ANSWER_S = 10.0
_AGAIN_S = 1.0
_FIRST_S = 0.4  # nobody takes up a run that has just begun, and its hosts have containers to start
_SCRIPT = """\
f={file}
command -v flock >/dev/null && command -v timeout >/dev/null || {{ echo none; exit; }}
( exec 9>>"$f" ) 2>/dev/null || {{ echo "held another user"; exit; }}
while :; do
  exec 9>>"$f"
  flock -n 9 || {{ echo "held $(cat "$f")"; exit; }}
  [ "$f" -ef /proc/self/fd/9 ] && break  # else its holder has just removed it
done
echo {who} >"$f"
echo ours
while x=$(timeout {lapse} dd bs=1 count=1 2>/dev/null) && [ "$x" = . ]; do :; done
rm -f "$f"
"""
# A file without a lock is one that a host which was switched off has kept.
_LOOK = """\
f={file}
command -v flock >/dev/null && command -v timeout >/dev/null || {{ echo none; exit; }}
[ -e "$f" ] || {{ echo free; exit; }}
( exec 9<"$f" && flock -ns 9 ) 2>/dev/null && echo free || echo held
"""


def is_held(run_id: str, ask: Callable[[str], str]) -> bool | None:
    """Whether a launcher supervises a run, as a host knows; None where that keeps no leases.

    Only its chief's host knows of one. ask: returns what a shell script prints there.

    Raises:
        HostError: the host does not say.
    """
    answer = ask(_LOOK.format(file=shlex.quote(_file(run_id)))).strip()
    return {"held": True, "free": False}.get(answer)


def _file(run_id: str) -> str:
    return f"/tmp/launch-{run_id}.lease"  # noqa: S108 - on the host, held by a lock


class Session(Protocol):
    """A command that runs on a host."""

    def read_line(self, timeout_s: float) -> str: ...
    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Lease:
    """One run's lease, kept by a thread until it is given back.

    run: starts a shell script on the host.
    on_loss: called once if another launcher has taken the run up meanwhile, with who that is.
    """

    def __init__(
        self,
        run_id: str,
        host: str,
        run: Callable[[str], Session],
        on_loss: Callable[[str], None] = lambda who: None,
    ) -> None:
        self._run_id = run_id
        self._host = host
        self._run = run
        self._on_loss = on_loss
        self._given_back = threading.Event()
        self._session: Session | None = None

    @contextlib.contextmanager
    def held(self, *, at_once: bool) -> Iterator[None]:
        """Keep the lease while the block lasts.

        at_once: whether another launcher may have it, which is found out first. Raises HostError.
        """
        if at_once:
            self.take()
        self.keep()
        try:
            yield
        finally:
            self.give_back()

    def take(self) -> None:
        """Take the lease, or raise HostError with who holds it."""
        self._session = self._taken()

    def keep(self) -> None:
        """From now on give signs of life, and take it again where the connection was lost."""
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def give_back(self) -> None:
        """Let another launcher have it."""
        self._given_back.set()
        self._close()

    def _close(self) -> None:
        if self._session is not None:
            with contextlib.suppress(OSError):
                self._session.send(b"q")
            self._session.close()

    def _taken(self) -> Session | None:
        who = f"{user_name()} on {socket.gethostname()} (process {os.getpid()})"
        script = _SCRIPT.format(
            file=shlex.quote(_file(self._run_id)), who=shlex.quote(who), lapse=int(LAPSE_S)
        )
        session = self._run(script)
        answer = session.read_line(_ANSWER_S)
        if answer == "ours":
            return session
        session.close()
        if answer.startswith("held "):
            raise Held(f"{self._run_id}: {answer.removeprefix('held ')} supervises it")
        if answer == "none":  # no flock there: names of attempts alone keep two apart
            return None
        raise HostError(f"{self._host}: does not say who supervises {self._run_id}")

    def _keep(self) -> None:
        self._keep_on()
        if self._given_back.is_set():
            self._close()  # of a lease that was being taken just then

    def _keep_on(self) -> None:
        lost_since = None if self._session is not None else time.monotonic()
        pause_s = 0.0 if lost_since is None else _FIRST_S
        while not self._given_back.wait(pause_s):
            pause_s = BEAT_S if lost_since is None else _AGAIN_S
            try:
                if lost_since is None and self._session is not None:
                    self._session.send(b".")
                    continue
                self._session = self._taken()
                if self._session is None:
                    return
                lost_since, pause_s = None, BEAT_S
            except Held as held:
                # Our own old session may hold it until it has lapsed.
                if lost_since is not None and time.monotonic() > lost_since + 2 * LAPSE_S:
                    self._on_loss(str(held))
                    return
                lost_since = lost_since or time.monotonic()
            except (HostError, OSError):
                lost_since = lost_since or time.monotonic()


class ChiefLease:
    """A run's lease on the host of its chief, and on each to which that moves.

    None is given back before the run's end: who reads the labels of a moment ago, with the chief
    where it was, finds the lease there still.

    starts: gives what starts a shell script on a host, by the host's name.
    on_loss: called once if another launcher has taken the run up meanwhile, with who that is.
    """

    def __init__(
        self,
        run_id: str,
        starts: Callable[[str], Callable[[str], Session]],
        on_loss: Callable[[str], None],
    ) -> None:
        self._run_id = run_id
        self._starts = starts
        self._on_loss = on_loss
        self._held = contextlib.ExitStack()
        self._hosts: set[str] = set()

    @contextlib.contextmanager
    def held(self, host: str, *, at_once: bool) -> Iterator["ChiefLease"]:
        """Keep the lease, on the chief's host, while the block lasts.

        at_once: whether another launcher may have it, which is found out first. Raises HostError.
        """
        with self._held:
            self._hold(host, at_once=at_once)
            yield self

    def follow(self, host: str) -> None:
        """Return where the lease is held on a host, before the chief starts there too.

        Raises:
            HostError: the host does not answer, or another launcher supervises the run there.
        """
        if host in self._hosts:
            return
        try:
            self._hold(host, at_once=True)
        except Held as held:
            self._on_loss(str(held))
            raise

    def _hold(self, host: str, *, at_once: bool) -> None:
        lease = Lease(self._run_id, host, self._starts(host), self._on_loss)
        self._held.enter_context(lease.held(at_once=at_once))
        self._hosts.add(host)


class Held(HostError):
    """Another launcher supervises the run."""
