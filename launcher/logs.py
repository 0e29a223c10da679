"""Log files onto the console: followed as they grow, each line whole and under its task's name.

Tasks write to their files themselves; what is read here is only shown. One thread reads all
files in turn and writes everything that the console gets, so that no line is torn by another.
"""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from launcher import markers
from launcher.task import TaskId

OnMarker = Callable[[TaskId, dict[str, object]], None]
Show = Callable[[bytes], bytes]  #: whole lines, as text for a terminal → what is written

_CHUNK_BYTES = 1 << 18
_LONGEST_LINE_BYTES = 1 << 20
_IDLE_S = 0.05
_PROGRESS_S = 1.0  # how often a progress bar that rewrites its line is shown
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_MARKER = markers.PREFIX.encode()
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n") + b"\x7f"
_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_REWRITE = re.compile(rb"[\r\x08]+")
_C1 = dict.fromkeys(range(128, 160))


def printable(line: bytes) -> bytes:
    """Return one line as a terminal would leave it, in UTF-8 and without control characters.

    Of a line that was rewritten (`\\r`, a progress bar) the last state is kept.
    """
    if not line.isascii():
        line = line.decode("utf-8", "replace").translate(_C1).encode()
    states = [state for state in _REWRITE.split(_ESCAPE.sub(b"", line)) if state.strip()]
    return states[-1].translate(None, _CONTROLS) if states else b""


@dataclass(slots=True)
class _Tail:
    """One log file, read so far up to `offset`; `partial` is a line that has not ended."""

    task: TaskId
    fd: int
    show: Show
    partial: bytes = b""
    shown_at: float = field(default_factory=time.monotonic)
    shown: bytes = b""


class _Status:
    """Lines that stand at the bottom of a terminal while there are any."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._drawn: tuple[str, ...] = ()
        self.lines: tuple[str, ...] = ()

    def drawn(self) -> bytes:
        """Return what makes the terminal show the present lines; nothing where it does."""
        lines = self.lines
        if self._fd is None or lines == self._drawn:
            return b""
        try:
            width = os.get_terminal_size(self._fd).columns
        except OSError:
            return b""
        text = self.erased() + "".join(f"{line[: width - 1]}\n" for line in lines).encode()
        self._drawn = lines
        return text

    def erased(self) -> bytes:
        """Return what takes the lines that are shown away."""
        count, self._drawn = len(self._drawn), ()
        return f"\x1b[{count}A\x1b[J".encode() if count else b""


class Console:
    """Shows log files and messages on one file descriptor.

    fd: where to write; a closed pipe there ends the showing, never the run.
    on_marker: called, from the console's own thread, with each marker line's fields.
    on_output: called, from there too, when a task has printed something.
    on_closed: called once, from there too, when nobody can read `fd` any more.
    terminal: whether `fd` is a terminal, on which a status can stand below everything else.
    """

    def __init__(
        self,
        fd: int,
        tasks: Sequence[TaskId],
        *,
        colour: bool,
        on_marker: OnMarker,
        on_output: Callable[[], None] = lambda: None,
        on_closed: Callable[[], None] = lambda: None,
        terminal: bool = False,
    ) -> None:
        self._fd = fd
        self._on_marker = on_marker
        self._on_output = on_output
        self._on_closed = on_closed
        self._prefixes = prefixes(tasks, colour=colour)
        self._messages: deque[str] = deque()
        self._arriving: deque[_Tail] = deque()
        self._tails: dict[TaskId, _Tail] = {}
        self.is_terminal = terminal
        self._status = _Status(fd if terminal else None)
        self._wake = threading.Event()
        self._closing = False
        self.is_open = True
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def say(self, message: str) -> None:
        """Show a message of the launcher's own on a line of its own."""
        self._messages.append(message)
        self._wake.set()

    def show_status(self, lines: Sequence[str]) -> None:
        """Keep these lines below everything else that is shown; on a terminal only."""
        self._status.lines = tuple(lines)
        self._wake.set()

    def follow(self, task: TaskId, path: str, show: Show | None = None) -> None:
        """Show a task's log file from its beginning and as it grows.

        What the task was followed by before is complete then, and is shown to its end first.

        show: how its lines look; each under the task's name where it is not given.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        show = show or partial(prefixed, self._prefixes[task])
        self._arriving.append(_Tail(task, fd, show))
        self._wake.set()

    def close(self, timeout_s: float | None = None) -> bool:
        """Show all that the files hold now; whether that was done within `timeout_s`.

        May be called again, to wait longer: a reader that does not read keeps it from ending.
        """
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            closing = self._closing  # read first: what was written before it is shown below
            while self._arriving:
                tail = self._arriving.popleft()
                self._finish(self._tails.pop(tail.task, None))
                self._tails[tail.task] = tail
            moved = [self._advance(tail) for tail in self._tails.values()]
            while self._messages:
                self._write(self._messages.popleft().encode("utf-8", "replace") + b"\n")
            if any(moved):
                continue
            self._put(self._status.drawn())
            if closing and not self._arriving and not self._messages:
                break
            self._wake.wait(_IDLE_S)
            self._wake.clear()
        for tail in self._tails.values():
            self._finish(tail)
        self._put(self._status.erased())

    def _finish(self, tail: _Tail | None) -> None:
        """Show the rest of a complete file, its last line without a newline too."""
        if tail is None:
            return
        while self._advance(tail):
            pass
        self._show_lines(tail, tail.partial)
        os.close(tail.fd)

    def _advance(self, tail: _Tail) -> bool:
        """Show what a file has grown by; whether it had."""
        chunk = os.read(tail.fd, _CHUNK_BYTES)
        if not chunk:
            self._show_progress(tail)
            return False
        self._on_output()
        text = tail.partial + chunk
        end = text.rfind(b"\n") + 1
        if not end and len(text) > _LONGEST_LINE_BYTES:
            end = len(text)
        tail.partial = _last_states(text[end:])
        if end:
            tail.shown = b""
            self._show_lines(tail, text[:end])
        return True

    def _show_progress(self, tail: _Tail) -> None:
        """Show a progress bar's present state, now and then: its line may not end for hours."""
        if b"\r" not in tail.partial or time.monotonic() < tail.shown_at + _PROGRESS_S:
            return
        state = printable(tail.partial)
        if state and state != tail.shown:
            self._write(tail.show(state + b"\n"))
            tail.shown = state
        tail.shown_at = time.monotonic()

    def _show_lines(self, tail: _Tail, text: bytes) -> None:
        """Show whole lines; the fast way is for text that needs nothing but its prefix."""
        if not text:
            return
        plain = text.isascii() and len(text.translate(None, _CONTROLS)) == len(text)
        if not plain or _MARKER in text:
            text = b"".join(self._clean(tail.task, line) for line in _lines(text))
        if text:
            self._write(tail.show(text if text.endswith(b"\n") else text + b"\n"))

    def _clean(self, task: TaskId, line: bytes) -> bytes:
        marker = markers.parse(line) if line.startswith(_MARKER) else None
        if marker is not None:
            self._on_marker(task, marker)
            return b""
        return printable(line) + b"\n"

    def _write(self, data: bytes) -> None:
        self._put(self._status.erased() + data)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self.is_open:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                time.sleep(_IDLE_S)
            except OSError:  # nobody reads any more; the files hold everything
                self.is_open = False
                self._on_closed()


def prefixed(prefix: bytes, lines: bytes) -> bytes:
    """Return whole lines, each behind a prefix."""
    return prefix + lines[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


def _lines(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n")


def _last_states(partial: bytes) -> bytes:
    """Return an unended line without the states that were rewritten since.

    The `\r` before the last state stays: it tells a progress bar from a line being written.
    """
    return partial[max(partial.rstrip(b"\r").rfind(b"\r"), 0) :]


def prefixes(tasks: Sequence[TaskId], *, colour: bool) -> dict[TaskId, bytes]:
    """Return what stands before each line of a task, as wide for one as for another."""
    width = max((len(str(task)) for task in tasks), default=0)
    found = {}
    for position, task in enumerate(tasks):
        text = f"{task!s:<{width}} |"
        if colour:
            text = f"\x1b[{_COLOURS[position % len(_COLOURS)]}m{text}\x1b[0m"
        found[task] = f"{text} ".encode()
    return found


def last_lines(path: str, count: int) -> tuple[str, ...]:
    """Return the last `count` lines of a log file that are no markers, cleaned for showing."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - (1 << 16)))
            lines = log.read().split(b"\n")
    except OSError:
        return ()
    texts = [printable(line).decode() for line in lines if not line.startswith(_MARKER)]
    return tuple([text for text in texts if text.strip()][-count:])
