"""Who supervises a run on this machine: a lock in its folder, which falls with its holder.

RUN/supervisor.lock    flock'ed by the one process that supervises the run, while it does
RUN/supervisor.json    who that is; stays when a supervisor is killed, and means nothing then

The lock is the truth: the kernel drops it when its holder ends, in whatever way. It is not
inherited by what the supervisor starts, unless that is forked without exec: fork first, then hold.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from launcher.errors import HostError

LOCK_NAME, HOLDER_NAME = "supervisor.lock", "supervisor.json"

_RETRY_S = 0.5  # whoever asks `holder` has the lock for a moment too
_PAUSE_S = 0.01


class Holder(NamedTuple):
    """The process that supervises a run.

    pid, host: 0 and empty in the moment in which it has the lock and has not said yet who it is.
    started: the Unix time at which it began to supervise.
    """

    pid: int = 0
    host: str = ""
    started: float = 0.0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


@contextlib.contextmanager
def hold(run_dir: str | Path) -> Iterator[Holder]:
    """Be the one that supervises a run, until the context is left or this process ends.

    Raises:
        HostError: another process supervises it, or the folder cannot be written.
    """
    folder = Path(run_dir)
    me = Holder(os.getpid(), socket.gethostname(), round(time.time(), 3))
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise HostError(f"{folder / LOCK_NAME}: cannot be made: {error.strerror}") from None
    try:
        _take(lock, folder)
        _say(folder, me)
        yield me
        (folder / HOLDER_NAME).unlink(missing_ok=True)
    finally:
        os.close(lock)


def holder(run_dir: str | Path) -> Holder | None:
    """Return who supervises a run, None where nobody does; a run without a lock file has nobody.

    Raises:
        HostError: the folder cannot be read.
    """
    path = Path(run_dir, LOCK_NAME)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(path.parent)
    except OSError:  # a file system without locks
        return _alive(_named(path.parent))
    finally:
        os.close(lock)
    return None


def _take(lock: int, folder: Path) -> None:
    give_up_at = time.monotonic() + _RETRY_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                raise HostError(f"{folder.name}: {_named(folder)} supervises it") from None
            time.sleep(_PAUSE_S)
            continue
        except OSError:  # a file system without locks: what was said is all there is
            if who := _alive(_named(folder)):
                raise HostError(f"{folder.name}: {who} supervises it") from None
        return


def _say(folder: Path, me: Holder) -> None:
    temporary = folder / f".{HOLDER_NAME}.tmp"
    try:
        temporary.write_text(json.dumps(me._asdict()) + "\n")
        temporary.replace(folder / HOLDER_NAME)
    except OSError as error:
        raise HostError(f"{folder / HOLDER_NAME}: cannot be written: {error.strerror}") from None


def _named(folder: Path) -> Holder:
    """Return who said last that it supervises a run."""
    try:
        said = json.loads((folder / HOLDER_NAME).read_text())
        return Holder(int(said["pid"]), str(said["host"]), float(said["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder()


def _alive(who: Holder) -> Holder | None:
    """Return a holder that may be alive; of another machine's processes nothing is known."""
    if not who.pid:
        return None
    if who.host == socket.gethostname():
        try:
            os.kill(who.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return who
    return who
