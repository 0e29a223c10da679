"""Follows one container's output over its host's connection until all of it is in files.

That a stream ends says nothing: a daemon that restarts ends it too, and one that ended with the
container may lack its last lines. So the engine is asked whether the container has ended, and
then once more for the rest, in an answer whose own end is marked.
"""

import contextlib
import math
import time
from collections.abc import Callable
from datetime import datetime

from launcher.container_logs.frames import EngineFault, FrameError, Frames, Messages
from launcher.container_logs.lines import Lines
from launcher.container_logs.position import Changed, Receiver
from launcher.container_logs.record import FilesError, LogFiles, Record
from launcher.container_logs.retries import Retries
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.logins import UNREACHABLE_S

_OVER_UNREACHABLE_S = 20.0
_CHUNK_BYTES = 1 << 18
_SAVE_S = 1.0
_MOMENT_S = 0.5
_POLL_S = 0.03
_ENDED = ("exited", "dead")
_GONE = (404, 409)
_UNREADABLE = "does not support reading"


class LogFollower:
    """Copies one container's output into files until it has ended and all of it is there.

    The container's log driver is json-file without rotation, and it has no terminal. The log gets
    both streams, in the engine's order and in whole lines; a file beside it (`stderr_path`) gets
    what was on stderr once more, alone: so the log reads as a terminal would have shown it, with
    no marks in it that tell the streams apart. A record beside both (`position_path`) says how
    far they have come: another `LogFollower`, in another launcher, goes on there.
    """

    def __init__(
        self,
        engine: Engine,
        container_id: str,
        log_path: str,
        *,
        is_over: Callable[[], bool],
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        """Make the files, so that they are there to be read once this returns.

        is_over: whether the container is known to have ended. It is asked when a stream has
            ended; where it says no, the engine is asked. A host that cannot be reached is
            given up sooner where it says yes.

        Raises:
            HostError: the files cannot be written.
        """
        self._engine = engine
        self._container_id = container_id
        self._log_path = log_path
        self._is_over = is_over
        self._unreachable_s = unreachable_s
        LogFiles(container_id, log_path).close()

    def run(self, *, follow: bool = True) -> None:
        """Return when everything that the container printed is in the files.

        follow: whether to wait for a container that runs to end; where not, the lines that have
            ended by now are enough.

        Raises:
            HostError: the host stayed unreachable for longer than `unreachable_s`, or the engine
                has no such log or cannot read it. What has come until then is in the files.
            OSError: the files cannot be written.
        """
        self._retries = Retries(self._unreachable_s)
        try:
            self._files = LogFiles(self._container_id, self._log_path)
            with contextlib.closing(self._files):
                self._copy_all(follow=follow)
        except FilesError as error:
            raise error.cause from None

    def _copy_all(self, *, follow: bool) -> None:
        self._begin(self._files.record)
        if self._files.record.is_complete:
            return
        try:
            has_ended = self._follow(waits=follow)
        except HostError:
            self._save()
            raise
        if not has_ended:
            self._save()
            return
        self._files.append(self._lines.end())
        self._save(is_complete=True)

    def _begin(self, record: Record) -> None:
        self._receiver = Receiver(record.position)
        self._lines = Lines(record.unended)
        self._saved_at = time.monotonic()

    def _follow(self, *, waits: bool) -> bool:
        """Copy until the engine has nothing more, for now or for good; whether it is for good.

        waits: for the container to end.
        """
        while True:
            total = self._receiver.total
            try:
                if waits:
                    self._copy(follow=True)
                has_ended = self._has_ended()
                if has_ended or not waits:
                    self._copy(follow=False)
                    return has_ended
            except FilesError:
                raise
            except FrameError as error:
                raise HostError(f"{self._what()} cannot be followed ({error})") from None
            except Changed:
                self._files.begin_anew()
                self._begin(Record())
            except EngineFault as fault:
                self._retries.refused(HostError(f"{self._what()} cannot be read: {fault}"))
            except HostError as error:
                self._judge(error)
            if self._receiver.total > total:
                self._retries.moved()
            self._retries.pause()

    def _copy(self, *, follow: bool) -> None:
        """Copy what the engine sends until its answer ends."""
        since = self._receiver.restart()
        answer = self._engine.get(
            f"/containers/{self._container_id}/logs",
            unchunked=follow,  # many messages at once; the other answer's end must be marked
            follow="1" if follow else "0",
            stdout="1",
            stderr="1",
            timestamps="1",
            since=_unix_time(since),
        )
        frames = Frames()
        read = answer.raw.read1 if follow else answer.raw.read
        try:
            with answer, self._engine.errors("stopped sending a container's log"):
                while data := read(_CHUNK_BYTES):
                    self._store(frames.cut(data))
                frames.end(is_whole=not follow)
        finally:
            self._retries.heard(self._engine.silent_s())

    def _store(self, messages: Messages) -> None:
        messages = self._receiver.accept(messages)
        if messages.stamps:
            self._files.append(self._lines.join(messages))
            if time.monotonic() > self._saved_at + _SAVE_S:
                self._save()

    def _save(self, *, is_complete: bool = False) -> None:
        record = Record(self._receiver.position(), self._lines.unended(), is_complete)
        self._files.save(record)
        self._saved_at = time.monotonic()

    def _has_ended(self) -> bool:
        """Whether the container has ended: an engine ends the stream a moment before it says so."""
        give_up_at = time.monotonic() + _MOMENT_S
        while not self._is_over():
            with self._engine.errors("cannot inspect a container"):
                state = self._engine.api.inspect_container(self._container_id)["State"]
            if state["Status"] in _ENDED:
                return True
            if time.monotonic() > give_up_at:
                return False
            time.sleep(_POLL_S)
        return True

    def _judge(self, error: HostError) -> None:
        """Raise what asking again cannot mend, or has not mended for too long."""
        status = error.status if isinstance(error, EngineError) else None
        if _UNREADABLE in str(error):
            how = "cannot be read: its log driver keeps none that can; it must be json-file"
            raise HostError(f"{self._what()} {how}") from None
        if status in _GONE:
            how = f"is gone with the container; what had come is in {self._log_path}"
            raise HostError(f"{self._what()} {how}") from None
        if status is None:
            self._retries.failed(error, _OVER_UNREACHABLE_S if self._is_over() else math.inf)
        else:
            self._retries.refused(error)

    def _what(self) -> str:
        return f"{self._engine.host}: the log of container {self._container_id[:12]}"


def _unix_time(stamp: bytes) -> str:
    """Return a timestamp as the engine takes it: seconds and nanoseconds; 0 for the beginning."""
    if not stamp:
        return "0"
    seconds = datetime.fromisoformat(f"{stamp[:19].decode()}+00:00").timestamp()
    return f"{seconds:.0f}.{stamp[20:29].decode()}"
