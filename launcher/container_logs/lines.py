"""Messages of two streams, put together into whole lines in the engine's order.

A line stands in the log where it ended. One longer than a megabyte is written as it comes from
there on, so that what never ends a line (a progress bar) needs no memory and is seen to live;
only such a line may be broken by the other stream.
"""

from typing import NamedTuple

from launcher.container_logs.frames import STDERR, Messages

LONGEST_LINE_BYTES = 1 << 20


class Text(NamedTuple):
    """What to append to the log of both streams, and to that of stderr alone."""

    log: bytes
    stderr: bytes


class Unended(NamedTuple):
    """Lines that have not ended.

    held: of each stream, in the order of their beginning, what is not in the log yet.
    at_end: the stream whose unended line the log ends with, or 0.
    """

    held: tuple[tuple[int, bytes], ...] = ()
    at_end: int = 0


class Lines:
    """Puts lines together."""

    def __init__(self, unended: Unended) -> None:
        self._held = {stream: bytearray(text) for stream, text in unended.held}
        self._at_end = unended.at_end

    def unended(self) -> Unended:
        """Return what another `Lines` needs to go on from here."""
        held = tuple((stream, bytes(text)) for stream, text in self._held.items())
        return Unended(held, self._at_end)

    def join(self, messages: Messages) -> Text:
        """Return the lines that these messages end."""
        pairs = zip(messages.streams, messages.texts, strict=True)
        if messages.are_lines and not self._held and not self._at_end:
            stderr = [text for stream, text in pairs if stream == STDERR]
            return Text(b"".join(messages.texts), b"".join(stderr))
        pieces: list[tuple[int, bytes]] = []
        for stream, text in pairs:
            if text.endswith(b"\n") or self._is_long(stream, text):
                self._place(pieces, stream, bytes(self._held.pop(stream, b"")) + text)
            else:
                self._held.setdefault(stream, bytearray()).extend(text)
        return _text(pieces)

    def end(self) -> Text:
        """Return the lines that nothing will end any more."""
        pieces: list[tuple[int, bytes]] = []
        for stream, text in self._held.items():
            self._place(pieces, stream, bytes(text))
        self._held.clear()
        return _text(pieces)

    def _is_long(self, stream: int, text: bytes) -> bool:
        if self._at_end == stream:
            return True
        return len(self._held.get(stream, b"")) + len(text) > LONGEST_LINE_BYTES

    def _place(self, pieces: list[tuple[int, bytes]], stream: int, text: bytes) -> None:
        if self._at_end not in (0, stream):
            pieces.append((0, b"\n"))
        pieces.append((stream, text))
        self._at_end = 0 if text.endswith(b"\n") else stream


def _text(pieces: list[tuple[int, bytes]]) -> Text:
    stderr = b"".join(text for stream, text in pieces if stream == STDERR)
    return Text(b"".join(text for _, text in pieces), stderr)
