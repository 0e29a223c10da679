"""One host for a whole run: the one connection to it, made when needed and again when lost.

Everything goes through channels of it: sockets to the host's Docker, commands, other hosts behind
it. A lost connection ends its channels with an error; the next use makes a new one.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from launcher.errors import HostError
from launcher.ssh import commands, socket_access
from launcher.ssh.commands import NotInTime
from launcher.ssh.stream import SocketLike, Stream
from launcher.ssh.values import Completed, Target

if TYPE_CHECKING:
    from paramiko.channel import Channel

    from launcher.ssh.transport import HostTransport

_OPEN_S = 30.0
_DIAGNOSIS_S = 15.0
_STREAM_SESSIONS = commands.SESSIONS - 2  # the rest stays for commands
_PAUSE_S = 0.1
_PROHIBITED = 1  # RFC 4254, 5.1


class Dial(Protocol):
    """Makes a transport that is logged in; `again`: to a host that was there before."""

    def __call__(self, *, again: bool) -> "HostTransport": ...


class Connection:
    """The connection to one host. Every method may be called from any thread.

    The methods raise HostError, which names the host and what to do; what has been opened raises
    OSError.
    """

    def __init__(self, target: Target, dial: "Dial") -> None:
        """`dial` makes a transport that is logged in."""
        self.target = target
        self._dial = dial
        self._lock = threading.Lock()
        self._transport: HostTransport | None = None
        self._sessions = threading.Semaphore(commands.SESSIONS)
        self._stream_sessions = threading.Semaphore(_STREAM_SESSIONS)
        self._forbids_forwarding = False
        self._diagnosis = threading.Lock()
        self._closed = False

    def connect(self) -> None:
        """Connect and log in, unless that is done. Raises HostError."""
        self._live()

    def transport(self) -> "HostTransport":
        """Return the logged-in transport itself, for forwards from the host. Raises HostError."""
        return self._live()

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, as far as is known."""
        transport = self._transport
        return transport is not None and transport.is_active()

    @property
    def silent_s(self) -> float:
        """How long nothing has come from the host; of one that is there some seconds at most."""
        transport = self._transport
        return 0.0 if transport is None else transport.silent_s

    def open_socket(self, path: str) -> SocketLike:
        """Return a connection to the Unix socket at `path` on the host.

        Where the host forbids forwarding to sockets, Docker's own command stands in, which only
        reaches a Docker socket.

        Raises:
            HostError: with the reason, as far as the host tells it.
        """
        if not self._forbids_forwarding:
            channel = self._opened(lambda transport: transport.open_stream_local(path, _OPEN_S))
            if channel is not None:
                return Stream(channel, f"the connection to {self.target.name} was lost", _nothing)
            self._find_out_why(path)
        return self._dial_stdio(path)

    def open_tcp(self, host: str, port: int, timeout_s: float) -> "Channel":
        """Return a channel to another machine's port, as that host reaches it.

        Raises:
            Dropped: it cannot be reached now.
            HostError: this host forbids it, or cannot be reached itself.
        """
        from paramiko import ChannelException, SSHException

        from launcher.ssh.pacing import Dropped

        transport = self._live()
        try:
            return transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout_s
            )
        except ChannelException as error:
            if error.code == _PROHIBITED:
                raise self._error(
                    f"it may not be used as a jump host to {host}: set AllowTcpForwarding yes in "
                    "its sshd_config"
                ) from None
            why = f"{self.target.name} cannot reach it: {error.text}"
            raise Dropped(why, is_refusal=True) from None
        except (SSHException, OSError, EOFError) as error:
            raise Dropped(f"the connection to {self.target.name} broke off: {error}") from None

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float = 30) -> Completed:
        """Run a command in the user's shell on the host; return its end and output.

        Raises:
            HostError: it could not be run, or did not end within `timeout_s`.
        """
        from paramiko import SSHException

        give_up_at = time.monotonic() + timeout_s
        shown = command if len(command) < 80 else f"{command[:77]}…"
        if not self._sessions.acquire(timeout=timeout_s):
            raise self._error(f"`{shown}` had to wait for other commands for {timeout_s:g} s")
        try:
            channel = self._session(give_up_at)
            try:
                return commands.complete(channel, command, stdin, give_up_at)
            finally:
                channel.close()
        except NotInTime:
            raise self._error(f"`{shown}` did not end within {timeout_s:g} s") from None
        except (SSHException, OSError, EOFError) as error:
            raise self._error(f"`{shown}` could not be run: {error or 'connection lost'}") from None
        finally:
            self._sessions.release()

    def open_command(self, command: str) -> Stream:
        """Return the input and output of a command on the host; closing it ends its input.

        It takes one of the few session channels while it is open. Raises HostError.
        """
        return self._streamed(command, "more commands run there than its sshd has sessions for")

    def close(self) -> None:
        """Close the connection with all that is open in it; it cannot be used again."""
        with self._lock:
            self._closed = True
            if self._transport is not None:
                self._transport.close()

    def _live(self) -> "HostTransport":
        transport = self._transport
        if transport is not None and transport.is_active():
            return transport
        with self._lock:
            if self._closed:
                raise self._error("the connection was closed")
            if self._transport is None or not self._transport.is_active():
                self._transport = self._dial(again=self._transport is not None)
            return self._transport

    def _opened(self, open_channel: Callable[["HostTransport"], "Channel"]) -> "Channel | None":
        """Return a new channel, None where the host refuses it; reconnect once when lost."""
        from paramiko import ChannelException, SSHException

        for is_last in (False, True):
            transport = self._live()
            try:
                return open_channel(transport)
            except ChannelException:
                return None
            except (SSHException, OSError, EOFError) as error:
                if is_last or transport.is_active():
                    raise self._error(f"no channel could be opened: {error}") from None
        raise AssertionError

    def _session(self, give_up_at: float) -> "Channel":
        """Return a session channel; where sshd counts ours of other connections, later."""
        while True:
            left_s = max(0.1, give_up_at - time.monotonic())
            channel = self._opened(partial(_open_session, timeout_s=left_s))
            if channel is not None:
                return channel
            if time.monotonic() + _PAUSE_S > give_up_at:
                raise self._error("its sshd opens no more sessions (MaxSessions in sshd_config)")
            time.sleep(random.uniform(0.5, 1) * _PAUSE_S)  # noqa: S311 - no secret

    def _find_out_why(self, path: str) -> None:
        """Return where a socket can be used but not forwarded to; else raise what is wrong."""
        with self._diagnosis:
            if self._forbids_forwarding:
                return
            access = socket_access.inspect(
                lambda command, stdin: self.run(command, stdin=stdin, timeout_s=_DIAGNOSIS_S), path
            )
            if access.problem:
                raise self._error(access.problem)
            self._forbids_forwarding = True

    def _dial_stdio(self, path: str) -> Stream:
        """Return Docker's own relay to a socket; it takes one of few session channels."""
        return self._streamed(
            f"env DOCKER_HOST=unix://{path} docker system dial-stdio",
            "its sshd allows no forwarding to sockets, and more streams are open than it has "
            "sessions for: set AllowStreamLocalForwarding yes in its sshd_config",
        )

    def _streamed(self, command: str, too_many: str) -> Stream:
        from paramiko import SSHException

        if not self._stream_sessions.acquire(timeout=_OPEN_S):
            raise self._error(too_many)
        with self._kept(self._sessions, self._stream_sessions) as give_back:
            channel = self._session(time.monotonic() + _OPEN_S)
            try:
                channel.exec_command(command)
            except (SSHException, OSError, EOFError) as error:
                raise self._error(f"`{command[:77]}` could not be run: {error}") from None
            return Stream(channel, f"the connection to {self.target.name} was lost", give_back)

    @contextmanager
    def _kept(
        self, free: threading.Semaphore, held: threading.Semaphore
    ) -> Iterator[Callable[[], None]]:
        """Take `free` besides `held`; on an error give both back, else let the caller do it."""
        free.acquire()

        def give_back() -> None:
            free.release()
            held.release()

        try:
            yield give_back
        except BaseException:
            give_back()
            raise

    def _error(self, what: str) -> HostError:
        return HostError(f"host {self.target.name}: {what}")


def _open_session(transport: "HostTransport", timeout_s: float) -> "Channel":
    return transport.open_session(timeout=timeout_s)


def _nothing() -> None:
    pass
