"""Log files onto the console: nothing lost or torn, nothing that acts on a terminal."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.logs import Console, last_lines, printable
from launcher.task import CHIEF, TaskId
from tests.conftest import DEADLINE_S, until

WORKER = TaskId.parse("worker:0")
TASKS = (CHIEF, WORKER)


class Shown:
    """A console on a pipe, whose reader keeps all that it shows."""

    def __init__(self, folder: Path, *, colour: bool = False) -> None:
        self.folder = folder
        self.markers: list[tuple[TaskId, dict[str, object]]] = []
        reading, self._writing = os.pipe()
        self._data = bytearray()
        self._reader = threading.Thread(target=self._read, args=(reading,))
        self._reader.start()
        self.console = Console(
            self._writing,
            TASKS,
            colour=colour,
            on_marker=lambda task, fields: self.markers.append((task, fields)),
        )

    def _read(self, fd: int) -> None:
        with open(fd, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 16):
                self._data += data

    def so_far(self) -> bytes:
        return bytes(self._data)

    def follow(self, task: TaskId, content: bytes = b"") -> Path:
        path = self.folder / f"{task.slug}.log"
        path.write_bytes(content)
        self.console.follow(task, str(path))
        return path

    def all(self) -> bytes:
        """Close the console and return all that it has shown."""
        if self._reader.is_alive():
            assert self.console.close(DEADLINE_S)
            os.close(self._writing)
            self._reader.join(DEADLINE_S)
        return bytes(self._data)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """A console, closed afterwards."""
    made = Shown(tmp_path)
    yield made
    made.all()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_no_line_is_lost_or_torn(shown: Shown) -> None:
    """Two tasks that write 200,000 lines each as fast as they can are shown whole, in order."""
    writer = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "text = b''.join(b'%d of the lines of %s\\n' % (n, sys.argv[1].encode()[-12:])"
        " for n in range(200_000))\n"
        "size = int(sys.argv[2])\n"
        "for at in range(0, len(text), size): os.write(fd, text[at:at + size])\n"
    )
    paths = {task: shown.follow(task) for task in TASKS}
    writers = [
        subprocess.Popen([sys.executable, "-c", writer, str(path), size])
        for path, size in zip(paths.values(), ("1000", "4093"), strict=True)  # lines come torn
    ]
    assert [process.wait(DEADLINE_S) for process in writers] == [0, 0]
    lines = shown.all().splitlines()
    assert len(lines) == 400_000
    for task, path in paths.items():
        prefix = f"{task!s:<8} | ".encode()
        of_task = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        assert of_task == path.read_bytes().splitlines()


def test_last_line_without_newline(shown: Shown) -> None:
    """A last line that does not end is shown, and ended, once the file is complete."""
    shown.follow(CHIEF, b"one\ntwo")
    assert shown.all() == b"chief:0  | one\nchief:0  | two\n"


def test_an_unended_line_waits_for_its_end(shown: Shown) -> None:
    """A line that is being written is shown once, when it is whole."""
    path = shown.follow(CHIEF, b"first\nhal")
    until(lambda: b"first" in shown.so_far(), "the first line")
    append(path, b"f\n")
    assert shown.all() == b"chief:0  | first\nchief:0  | half\n"


@pytest.mark.parametrize("bar", [b"\r10%\r20%", b"10%\r20%\r", b"\r\x1b[K10%\r\x1b[K20%"])
def test_progress_bar(shown: Shown, bar: bytes) -> None:
    """A bar that rewrites its line is shown by its present state, and at its end by the last."""
    path = shown.follow(CHIEF, bar)
    until(lambda: b"20%\n" in shown.so_far(), "the bar's present state", 5)
    append(path, b"\r30%\r100%\r\nafter\n")
    lines = shown.all().splitlines()
    assert lines == [b"chief:0  | " + text for text in (b"20%", b"100%", b"after")]


def test_a_line_being_written_is_no_progress_bar(shown: Shown) -> None:
    """Without `\\r`, an unended line is not shown before its end."""
    shown.follow(CHIEF, b"unended")
    shown.follow(WORKER, b"\rbar")
    until(lambda: b"bar\n" in shown.so_far(), "the bar", 5)
    assert b"unended" not in shown.so_far()
    assert b"chief:0  | unended\n" in shown.all()


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"plain \xc3\xa9 \xe2\x9c\x93", "plain é ✓"),
        (b"bad \xff\xfe utf", "bad \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} utf"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2J\x1b[Hcleared", "cleared"),
        (b"\x1bcreset", "reset"),
        (b"bell\x07 null\x00 del\x7f", "bell null del"),
        (b"c1 \xc2\x9b31m", "c1 31m"),
        (b"tab\tstays", "tab\tstays"),
        (b"a\rb\rc", "c"),
        (b"windows\r", "windows"),
        (b"abc\x08\x08\x08xyz", "xyz"),
        (b"", ""),
        (b"\x1b[", ""),
    ],
)
def test_printable(line: bytes, seen: str) -> None:
    """A line is shown without what would act on a terminal."""
    assert printable(line).decode() == seen


@given(st.binary())
def test_printable_is_harmless(line: bytes) -> None:
    """Whatever a line holds, what is shown is UTF-8 without control characters."""
    text = printable(line.replace(b"\n", b"")).decode()
    assert not [c for c in text if c != "\t" and (ord(c) < 32 or 127 <= ord(c) < 160)]


def test_files_keep_every_byte(shown: Shown) -> None:
    """What is kept off the console stays in the file."""
    content = b'\x1b[31mred\x1b[0m\xff\n@launch {"kind":"ready"}\n'
    path = shown.follow(CHIEF, content)
    assert shown.all() == "chief:0  | red\N{REPLACEMENT CHARACTER}\n".encode()
    assert path.read_bytes() == content


def test_very_long_line(shown: Shown) -> None:
    """A line of 5 MB is shown without a loss, in pieces under the prefix."""
    line = b"".join(b"%07d," % n for n in range(5 << 17))
    shown.follow(CHIEF, b"before\n" + line + b"\nafter\n")
    pieces = [piece.removeprefix(b"chief:0  | ") for piece in shown.all().splitlines()]
    assert b"".join(pieces) == b"before" + line + b"after"
    assert len(pieces) < 10


def test_markers(shown: Shown) -> None:
    """Marker lines are told and not shown; what only looks like one is shown."""
    marker = {"kind": "step", "step": 3}
    lookalikes = [
        "@launch",
        "@launch nonsense",
        "@launch [1]",
        '@launch {"no": "kind"}',
        '@launch {"kind": 1}',
        ' @launch {"kind": "step"}',
        "@launch " + "[" * 100_000,
    ]
    text = "\n".join([f"@launch {json.dumps(marker)}", *lookalikes, "end", ""])
    shown.follow(CHIEF, text.encode())
    seen = shown.all().decode().splitlines()
    assert seen == [f"chief:0  | {line}" for line in [*lookalikes, "end"]]
    assert shown.markers == [(CHIEF, marker)]


def test_messages_stand_on_their_own_lines(shown: Shown) -> None:
    """What the launcher itself says is never torn by a task's line, however they interleave."""
    path = shown.follow(CHIEF)
    for number in range(200):
        append(path, b"half")
        shown.console.say(f"message {number}")
        append(path, b" line\n")
    counted = Counter(shown.all().splitlines())
    assert counted == {
        b"chief:0  | half line": 200,
        **{b"message %d" % number: 1 for number in range(200)},
    }


def test_the_next_attempts_log_comes_after_the_last(shown: Shown, tmp_path: Path) -> None:
    """Following a new attempt shows the rest of the one before it first."""
    shown.follow(CHIEF, b"old" + b"." * 600_000)
    second = tmp_path / "second.log"
    second.write_bytes(b"new\n")
    shown.console.follow(CHIEF, str(second))
    assert [line[11:14] for line in shown.all().splitlines()] == [b"old", b"new"]


def test_colour(tmp_path: Path) -> None:
    """With colour each task's prefix has its own; the line itself stays as it is."""
    shown = Shown(tmp_path, colour=True)
    shown.follow(CHIEF, b"a\n")
    shown.follow(WORKER, b"b\n")
    lines = sorted(shown.all().splitlines())
    assert lines == [b"\x1b[33mworker:0 |\x1b[0m b", b"\x1b[36mchief:0  |\x1b[0m a"]


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """A closed pipe ends the showing; markers are still told."""
    reading, writing = os.pipe()
    os.close(reading)
    told: list[object] = []
    console = Console(
        writing, TASKS, colour=False, on_marker=lambda _task, fields: told.append(fields)
    )
    log = tmp_path / "log"
    log.write_bytes(b'line\n@launch {"kind":"ready"}\n')
    console.follow(CHIEF, str(log))
    assert console.close(DEADLINE_S)
    assert not console.is_open
    assert told == [{"kind": "ready"}]
    os.close(writing)


def test_a_reader_that_does_not_read(tmp_path: Path) -> None:
    """A full pipe keeps nobody for ever: closing says that not all was shown."""
    reading, writing = os.pipe()
    console = Console(writing, TASKS, colour=False, on_marker=lambda _task, _fields: None)
    log = tmp_path / "log"
    log.write_bytes(b"line\n" * 100_000)
    console.follow(CHIEF, str(log))
    assert not console.close(0.2)
    os.close(reading)
    assert console.close(DEADLINE_S)
    os.close(writing)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Relaying 200 MB, a fifth of it in need of cleaning, takes a few MB of memory."""
    log = tmp_path / "log"
    block = b"a plain line of a task, as long as lines often are.............................\n"
    with log.open("wb") as file:
        for _ in range(40):
            file.write(block * 50_000)
            file.write((b"\x1b[31m" + block) * 12_000)
    program = (
        "import resource, sys\n"
        "from launcher.logs import Console\n"
        "from launcher.task import CHIEF\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "before = peak()\n"
        "console = Console(1, [CHIEF], colour=False, on_marker=print)\n"
        "console.follow(CHIEF, sys.argv[1]); console.close()\n"
        "print(peak() - before, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, str(log)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    log.unlink()  # pytest keeps the folders of its last runs
    assert int(done.stderr) < 40


def test_last_lines(tmp_path: Path) -> None:
    """The last lines of a log are those a person would read: clean, without markers and blanks."""
    log = tmp_path / "log"
    log.write_bytes(b'one\n\x1b[31mtwo\x1b[0m\n\n@launch {"kind":"step"}\n\r1%\r2%\nlast \xff')
    replaced = "last \N{REPLACEMENT CHARACTER}"
    assert last_lines(str(log), 20) == ("one", "two", "2%", replaced)
    assert last_lines(str(log), 2) == ("2%", replaced)
    assert last_lines(str(tmp_path / "none"), 2) == ()
