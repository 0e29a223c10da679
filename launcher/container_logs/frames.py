"""The engine's multiplexed stream of log messages, cut into messages.

A frame is a header of eight bytes (stream, size) and one message: its timestamp, a blank and its
text. The text is a line with its newline, or up to 16 KiB of a longer one; only the last part of
that ends with a newline. Timestamps are in UTC and all of one width: they compare as bytes.
"""

import struct
from dataclasses import dataclass

STDOUT, STDERR, ENGINE = 1, 2, 3  #: who speaks; the engine itself does when it cannot read its log

_HEAD = struct.Struct(">B3xL30sc")  # the header, the timestamp and the blank behind it
_HEADER_BYTES = 8
_STAMP_BYTES = 31
_LONGEST_BYTES = 1 << 20


class FrameError(ValueError):
    """What the engine sends is no multiplexed log with timestamps."""


class EngineFault(Exception):
    """The engine says in the stream that it cannot go on; the text is its own."""


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages in the engine's order, field by field: there may be 100,000 a second.

    stamps: `2026-11-21T05:26:42.698612110Z`.
    are_lines: each text ends its line.
    """

    stamps: list[bytes]
    streams: list[int]
    texts: list[bytes]
    are_lines: bool

    def __len__(self) -> int:
        return len(self.stamps)

    def from_(self, start: int) -> "Messages":
        """Return the messages without the first `start`."""
        if not start:
            return self
        texts = self.texts[start:]
        are_lines = self.are_lines or all(text.endswith(b"\n") for text in texts)
        return Messages(self.stamps[start:], self.streams[start:], texts, are_lines)


class Frames:
    """Cuts what comes, in pieces of any size, into messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._fault = ""

    def cut(self, data: bytes) -> Messages:
        """Return the messages that are whole with `data`.

        Raises:
            FrameError: this is no multiplexed log with timestamps.
            EngineFault: the engine cannot go on; what came before was returned by the last call.
        """
        self._raise_fault()
        data = self._rest + data
        stamps: list[bytes] = []
        streams: list[int] = []
        texts: list[bytes] = []
        are_lines = True
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            stream, size, stamp, blank = _HEAD.unpack_from(data, start)
            if stream == ENGINE:
                self._fault = data[start + _HEADER_BYTES :].decode("utf-8", "replace").strip()
                break
            if blank != b" " or not _STAMP_BYTES <= size <= _LONGEST_BYTES:
                raise FrameError(f"unexpected bytes {data[start : start + _HEAD.size]!r}")
            after = start + _HEADER_BYTES + size
            if after > end:
                break
            stamps.append(stamp)
            streams.append(stream)
            texts.append(data[start + _HEAD.size : after])
            are_lines = are_lines and data[after - 1] == 10
            start = after
        self._rest = data[start:]
        return Messages(stamps, streams, texts, are_lines)

    def end(self, *, is_whole: bool) -> None:
        """Check how an answer ended; a whole one ends with a message. Raises as `cut`."""
        self._raise_fault()
        if is_whole and self._rest:
            raise FrameError(f"it ends with {self._rest[: _HEAD.size]!r}")

    def _raise_fault(self) -> None:
        if self._fault:
            raise EngineFault(self._fault)
