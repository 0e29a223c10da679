"""A container's output in files: each message once, lines whole, whatever breaks on the way."""

import itertools
import json
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.container_logs import frames, lines, position
from launcher.container_logs.frames import EngineFault, FrameError, Frames, Messages
from launcher.container_logs.lines import Lines, Text, Unended
from launcher.container_logs.position import Changed, Position, Receiver
from launcher.container_logs.record import (
    FilesError,
    LogFiles,
    Record,
    position_path,
    stderr_path,
)

STDOUT, STDERR = frames.STDOUT, frames.STDERR
SECOND_NS = 1_000_000_000
GAPS_NS = (0, 0, 1, 1_000_000, SECOND_NS // 2, SECOND_NS, 4 * SECOND_NS)
LATE_NS = (0, 0, 1, 1_000_000, 900_000_000)
BACK_NS = (*LATE_NS, 100 * SECOND_NS, 1000 * SECOND_NS)


class Said(NamedTuple):
    """One message, as the engine's log holds it."""

    stamp: bytes
    stream: int
    text: bytes


Log = Sequence[Said]


def stamp(nanoseconds: int) -> bytes:
    """Return a timestamp so long after one o'clock."""
    seconds, rest = divmod(nanoseconds, SECOND_NS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-11-21T{1 + hours:02}:{minutes:02}:{seconds:02}.{rest:09}Z".encode()


def framed(log: Log) -> bytes:
    """Return messages as the engine sends them."""
    payloads = [(said.stream, said.stamp + b" " + said.text) for said in log]
    return b"".join(struct.pack(">BxxxL", stream, len(p)) + p for stream, p in payloads)


def cut(data: bytes, size_bytes: int = 1 << 20) -> list[Messages]:
    """Return the messages in `data` when it comes in pieces of this size."""
    stream = Frames()
    return [stream.cut(data[i : i + size_bytes]) for i in range(0, len(data), size_bytes)]


def said(batches: Sequence[Messages]) -> list[Said]:
    return [
        Said(*fields)
        for batch in batches
        for fields in zip(batch.stamps, batch.streams, batch.texts, strict=True)
    ]


def whole_lines(log: Log) -> Text:
    """Return what the files should hold of a log without long lines, found in the plainest way."""
    unended: dict[int, bytes] = {}
    ended: list[tuple[int, bytes]] = []
    for _, stream, text in log:
        line = unended.pop(stream, b"") + text
        if line.endswith(b"\n"):
            ended.append((stream, line))
        else:
            unended[stream] = line
    left = sorted(unended.items(), key=lambda item: _beginning(log, item[0]))
    stderr = b"".join(line for stream, line in [*ended, *left] if stream == STDERR)
    return Text(b"".join(line for _, line in ended) + b"\n".join(v for _, v in left), stderr)


def _beginning(log: Log, stream: int) -> int:
    """Return where a stream's last line begins."""
    ends = [i for i, s in enumerate(log) if s.stream == stream and s.text.endswith(b"\n")]
    first = ends[-1] + 1 if ends else 0
    return next(i for i, s in enumerate(log) if i >= first and s.stream == stream)


def all_since(log: Log, since: bytes) -> Log:
    """Send what is not before a stamp, as Docker 20.10 does."""
    return [one for one in log if one.stamp >= since]


def from_first_since(log: Log, since: bytes) -> Log:
    """Send all from the first message on that is not before a stamp, as later ones do."""
    first = next((i for i, one in enumerate(log) if one.stamp >= since), len(log))
    return log[first:]


Sends = Callable[[Log, bytes], Log]


@st.composite
def logs(draw: st.DrawFn, late_ns: Sequence[int] = LATE_NS) -> list[Said]:
    """Logs of two streams: equal stamps, stamps out of order, lines in parts of one stamp."""
    clock_ns = newest_ns = 1500 * SECOND_NS
    unended: dict[int, int] = {}
    log = []
    steps = st.tuples(
        st.sampled_from(GAPS_NS),
        st.sampled_from((STDOUT, STDERR)),
        st.sampled_from(late_ns),
        st.sampled_from((b"", b"\n", b"\n", b"\n")),
    )
    for number, (gap_ns, stream, late, end) in enumerate(draw(st.lists(steps, max_size=40))):
        clock_ns += gap_ns
        stamp_ns = unended.get(stream, clock_ns - late)
        if late_ns is LATE_NS and stream not in unended:
            stamp_ns = max(stamp_ns, newest_ns - max(LATE_NS))
        newest_ns = max(newest_ns, stamp_ns)
        unended.pop(stream, None)
        if not end:
            unended[stream] = stamp_ns
        log.append(Said(stamp(stamp_ns), stream, b"%d." % number + end))
    return log


ENGINES = st.one_of(
    st.tuples(st.just(all_since), logs()),
    st.tuples(st.just(from_first_since), logs(BACK_NS)),
)


@pytest.fixture(autouse=True)
def _small_spans() -> Iterator[None]:
    """Let positions move on within a few messages."""
    with (
        mock.patch.object(position, "_SPAN_MESSAGES", 2),
        mock.patch.object(position, "_MOST_SPANS", 5),
    ):
        yield


@given(logs(), st.integers(1, 200))
def test_frames_may_be_cut_anywhere(log: list[Said], size_bytes: int) -> None:
    """Messages are the same in whatever pieces they come."""
    batches = cut(framed(log), size_bytes)
    assert said(batches) == log
    assert all(b.are_lines == all(t.endswith(b"\n") for t in b.texts) for b in batches)


@pytest.mark.parametrize("data", [b"plain text of a terminal, " * 3, b"\x01" + b"\xff" * 60])
def test_what_is_no_log_is_refused(data: bytes) -> None:
    """Bytes without frames, as a container with a terminal gives them, are no messages."""
    with pytest.raises(FrameError):
        Frames().cut(data)


def test_an_answer_that_is_cut_off_is_no_whole_one() -> None:
    """Half a message at the end of an answer that should be whole is not passed over."""
    stream = Frames()
    stream.cut(framed([Said(stamp(1), STDOUT, b"line\n")])[:-1])
    stream.end(is_whole=False)
    with pytest.raises(FrameError):
        stream.end(is_whole=True)


def test_what_the_engine_says_is_no_output() -> None:
    """An engine that cannot read its log says so in the stream; what came before it counts."""
    first = Said(stamp(1), STDOUT, b"line\n")
    fault = b"Error grabbing logs: unexpected EOF\n"
    stream = Frames()
    got = stream.cut(framed([first]) + struct.pack(">BxxxL", frames.ENGINE, len(fault)) + fault)
    assert said([got]) == [first]
    with pytest.raises(EngineFault, match="unexpected EOF"):
        stream.end(is_whole=False)


class Kill(NamedTuple):
    """One connection: how much of the log there was, where it was cut, in which pieces it came.

    saves: after how many pieces the position was recorded; loses: the launcher was killed too.
    """

    there: float
    cut: float
    piece_bytes: int
    saves: int
    loses: bool


KILLS = st.lists(
    st.builds(
        Kill,
        there=st.floats(0, 1),
        cut=st.sampled_from((1.0, 1.0, 0.9, 0.5, 0.0)),
        piece_bytes=st.sampled_from((7, 40, 45, 100, 300)),
        saves=st.integers(0, 3),
        loses=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


class Following:
    """The pure parts put together as the follower does, on files of its own."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/worker-0.1.log"
        self.begin()

    def begin(self) -> None:
        self.files = LogFiles("c0ffee", self.path)
        self.receiver = Receiver(self.files.record.position)
        self.lines = Lines(self.files.record.unended)

    def save(self) -> None:
        self.files.save(Record(self.receiver.position(), self.lines.unended()))

    def connect(self, log: Log, sends: Sends, kill: Kill) -> None:
        data = framed(sends(log, self.receiver.restart()))
        data = data[: round(len(data) * kill.cut)]
        for number, batch in enumerate(cut(data, kill.piece_bytes)):
            if number == kill.saves:
                self.save()
            self.files.append(self.lines.join(self.receiver.accept(batch)))

    def end(self) -> Text:
        self.files.append(self.lines.end())
        self.save()
        self.files.close()
        return Text(Path(self.path).read_bytes(), Path(stderr_path(self.path)).read_bytes())


@given(ENGINES, KILLS)
def test_each_message_is_written_once_whatever_breaks(
    engine: tuple[Sends, list[Said]], kills: list[Kill]
) -> None:
    """Connections dropped and launchers killed anywhere lose nothing and repeat nothing.

    With lines in parts, equal stamps and stamps out of order, and with either way of engines to
    understand `since`; a host's clock that is set back too, where the engine allows for it.
    """
    sends, log = engine
    there = 0
    with tempfile.TemporaryDirectory() as folder:
        following = Following(folder)
        for kill in kills:
            there = max(there, round(len(log) * kill.there))
            following.connect(log[:there], sends, kill)
            if kill.loses:
                following.files.close()
                following.begin()
        following.connect(log, sends, Kill(1, 1, 300, 0, False))
        assert following.end() == whole_lines(log)


@settings(max_examples=500)
@given(ENGINES, st.lists(st.integers(1, 3), min_size=1, max_size=20))
def test_each_message_is_received_once_at_every_drop(
    engine: tuple[Sends, list[Said]], grows: list[int]
) -> None:
    """A connection that drops after every few messages loses none and repeats none."""
    sends, log = engine
    receiver = Receiver(Position())
    got: list[Said] = []
    for there in [*itertools.accumulate(grows), len(log)]:
        for one in sends(log[:there], receiver.restart()):
            got += said(
                [receiver.accept(Messages([one[0]], [one[1]], [one[2]], one[2][-1:] == b"\n"))]
            )
    assert got == log


def accepted(receiver: Receiver, log: Log, piece_bytes: int = 100) -> list[Said]:
    """Let a receiver have a log; return what was new to it. It is asked for its position too."""
    got = []
    for batch in cut(framed(log), piece_bytes):
        got.append(receiver.accept(batch))
        receiver.position()
    return said(got)


def test_a_clock_that_is_set_back_while_connected_loses_nothing() -> None:
    """Where no stamp divides what came, the engine is asked for all of it again, and counted."""
    log = [Said(stamp(i * SECOND_NS), STDOUT, b"%d\n" % i) for i in range(60)]
    earlier = [one._replace(stamp=b"2025" + one.stamp[4:]) for one in log]
    receiver = Receiver(Position())
    receiver.restart()
    assert accepted(receiver, [*log, *earlier[:30]]) == [*log, *earlier[:30]]
    assert receiver.total == 90
    since = receiver.restart()
    assert accepted(receiver, all_since([*log, *earlier], since)) == earlier[30:]


def test_little_is_asked_for_again() -> None:
    """After a long log a position is a few seconds back, not at its beginning."""
    log = [
        Said(stamp(i * SECOND_NS // 10), STDOUT, b"%d\n"[: 3 if i else 2] % i) for i in range(5_000)
    ]
    receiver = Receiver(Position())
    receiver.restart()
    accepted(receiver, log, 500)
    assert receiver.position().skip < 100


def test_a_line_that_goes_on_keeps_the_position_at_its_beginning() -> None:
    """All parts of a line bear the stamp of the first: asking later would miss the next one."""
    bar = Said(stamp(SECOND_NS), STDOUT, b"12%\r")
    rest = [Said(stamp(i * SECOND_NS), STDERR, b"%d\n" % i) for i in range(2, 100)]
    receiver = Receiver(Position())
    receiver.restart()
    accepted(receiver, [bar, *rest])
    assert receiver.position().since <= bar.stamp


def test_another_log_than_before_is_noticed() -> None:
    """Where a count ends at another message than it did before, it does not go on from there."""
    log = [Said(stamp(i), STDOUT, b"%d\n" % i) for i in range(5)]
    receiver = Receiver(Position())
    receiver.restart()
    receiver.accept(cut(framed(log))[0])
    receiver.restart()
    with pytest.raises(Changed):
        receiver.accept(cut(framed([log[0], *log]))[0])


def test_long_lines_are_whole() -> None:
    """Lines of many parts by both streams at once are written one after the other."""
    parts = [
        Said(stamp(i), stream, (b"o" if stream == STDOUT else b"e") * 16_384)
        for i in range(20)
        for stream in (STDOUT, STDERR)
    ]
    log = [*parts, Said(stamp(1), STDERR, b"!\n"), Said(stamp(1), STDOUT, b"\n")]
    got = Lines(Unended()).join(cut(framed(log))[0])
    assert got.log == b"e" * 16_384 * 20 + b"!\n" + b"o" * 16_384 * 20 + b"\n"
    assert got.stderr == b"e" * 16_384 * 20 + b"!\n"


def test_what_never_ends_a_line_is_shown_and_takes_no_memory() -> None:
    """From a megabyte on a line is written as it comes, and the other stream is not held up."""
    together = Lines(Unended())
    text = b""
    for _ in range(lines.LONGEST_LINE_BYTES // 10_000 + 2):
        text += together.join(Messages([stamp(1)], [STDOUT], [b"x" * 10_000], False)).log
    assert len(text) > lines.LONGEST_LINE_BYTES
    assert together.unended() == Unended((), STDOUT)
    error = together.join(Messages([stamp(2)], [STDERR], [b"error\n"], True))
    assert error == Text(b"\nerror\n", b"error\n")
    assert set(text) == {ord("x")}


class TestFiles:
    """What is on disk is what the record says, or is made anew."""

    def following(self, folder: Path, container_id: str = "c0ffee") -> LogFiles:
        return LogFiles(container_id, str(folder / "ps-0.2.log"))

    def written(self, folder: Path) -> Path:
        files = self.following(folder)
        files.append(Text(b"a line\n", b""))
        files.save(Record(Position(stamp(1), 1, 1, stamp(1), stamp(1))))
        files.append(Text(b"another\n", b"another\n"))
        files.close()
        return folder / "ps-0.2.log"

    def test_what_is_not_recorded_is_cut_off(self, tmp_path: Path) -> None:
        """What was written after the last record comes again, so it does not stay."""
        log = self.written(tmp_path)
        files = self.following(tmp_path)
        files.append(Text(b"more\n", b"more\n"))
        files.close()
        assert log.read_bytes() == b"a line\nmore\n"
        assert Path(stderr_path(str(log))).read_bytes() == b"more\n"
        assert files.record.position.skip == 1

    @pytest.mark.parametrize("broken", ["cut", "text", "schema", "container", "gone"])
    def test_a_record_that_does_not_fit_begins_anew(self, tmp_path: Path, broken: str) -> None:
        """A lost or foreign record, or less in the files than it says, is no reason to fail."""
        log = self.written(tmp_path)
        record = Path(position_path(str(log)))
        if broken == "cut":
            log.write_bytes(b"a li")
        elif broken == "text":
            record.write_text('{"schema": 1')
        elif broken == "schema":
            record.write_text(json.dumps({**json.loads(record.read_text()), "schema": 2}))
        elif broken == "gone":
            record.unlink()
        files = self.following(tmp_path, "f00" if broken == "container" else "c0ffee")
        files.close()
        assert files.record == Record()
        assert log.read_bytes() == b""

    def test_a_file_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        """The message names the path and the system's reason."""
        (tmp_path / "ps-0.2.log").mkdir()
        with pytest.raises(FilesError, match=r"ps-0\.2\.log cannot be written here: Is a dir"):
            self.following(tmp_path)
