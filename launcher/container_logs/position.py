"""How far a container's output has been received, in words that its engine understands.

An engine can be asked for the messages since a timestamp. That alone is no position: timestamps
of one moment are equal, and those of the two streams are not in order, as each message is stamped
before it waits for its turn. So a position is a timestamp and a count: of the messages since it,
the first so many have been received. The timestamp is one that divides what was received cleanly,
into earlier messages with earlier stamps and later messages with later ones. So it means the same
to an engine that sends every message whose stamp is not before it (Docker 20.10), and to one that
sends everything from the first such message on (later ones).
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from launcher.container_logs.frames import Messages

# How much older than the newest a stamp that is still to come may be: a stamped message waits for
# its turn while its host is short of time.
MARGIN_S = 1

_SPAN_MESSAGES = 1000
_MOST_SPANS = 256


class Changed(Exception):
    """What the engine sends now is not what it sent before."""


class Position(NamedTuple):
    """Where to go on.

    since: a timestamp; empty for the beginning.
    skip: how many of the messages since then have been received; total: how many in all.
    newest: the newest timestamp received; last: that of the message received last.
    unended: of each stream whose last line has not ended, its stamp: the rest will bear it too.
    """

    since: bytes = b""
    skip: int = 0
    total: int = 0
    newest: bytes = b""
    last: bytes = b""
    unended: tuple[tuple[int, bytes], ...] = ()


class Receiver:
    """Knows what has been received, and leaves it out when it comes again.

    total: how many messages have been received in all.
    """

    def __init__(self, position: Position) -> None:
        self._since = position.since
        self.total = position.total
        self._last = position.last
        self._unended = dict(position.unended)
        # What was received since `_since`, a span each of messages that follow each other.
        self._spans = [_Span(position.since, position.newest, position.skip)]
        self._to_skip = 0

    def position(self) -> Position:
        """Return where to go on if the engine were asked again now."""
        self._drop_old()
        whole = _merged(self._spans)
        unended = tuple(self._unended.items())
        return Position(
            self._since, whole.messages, self.total, whole.newest, self._last, unended
        )  # fmt: skip

    def restart(self) -> bytes:
        """Return the timestamp to ask the engine for; what it sends then is accepted next."""
        position = self.position()
        self._to_skip = position.skip
        return position.since

    def accept(self, messages: Messages) -> Messages:
        """Return those of the next messages that were not received before.

        Raises:
            Changed: they are not those that came before; only the beginning is a safe place.
        """
        skipped = min(self._to_skip, len(messages))
        if skipped:
            self._to_skip -= skipped
            if not self._to_skip and messages.stamps[skipped - 1] != self._last:
                raise Changed
            messages = messages.from_(skipped)
        if messages.stamps:
            self._note(messages)
        return messages

    def _note(self, messages: Messages) -> None:
        stamps = messages.stamps
        span = _Span(min(stamps), max(stamps), len(stamps))
        self.total += span.messages
        self._last = stamps[-1]
        if span.oldest < self._since:  # the host's clock went back: no stamp divides cleanly
            before = _merged(self._spans)
            self._since = b""
            self._spans = [before._replace(oldest=b"", messages=self.total - span.messages)]
        if self._spans[-1].messages < _SPAN_MESSAGES:
            span = _merged([self._spans.pop(), span])
        self._spans.append(span)
        if len(self._spans) > _MOST_SPANS:
            self._drop_old()
            self._spans = [
                _merged(self._spans[i : i + 2]) for i in range(0, len(self._spans), 2)
            ]  # fmt: skip
        self._note_unended(messages)

    def _note_unended(self, messages: Messages) -> None:
        if messages.are_lines and not self._unended:
            return
        for stamp, stream, text in zip(
            messages.stamps, messages.streams, messages.texts, strict=True
        ):
            if text.endswith(b"\n"):
                self._unended.pop(stream, None)
            else:
                self._unended[stream] = stamp

    def _drop_old(self) -> None:
        """Move `_since` to the newest stamp that divides cleanly what came and what may come."""
        newest = _merged(self._spans).newest
        if not newest:
            return
        limit = min([_earlier(newest), *self._unended.values()])
        earlier = [self._spans[0].newest]  # of all spans before, at each span but the first
        for span in self._spans[1:-1]:
            earlier.append(max(earlier[-1], span.newest))
        oldest = newest
        for i in range(len(self._spans) - 1, 0, -1):
            oldest = min(oldest, self._spans[i].oldest)
            if earlier[i - 1] < oldest <= limit:
                self._since = oldest
                del self._spans[:i]
                return


class _Span(NamedTuple):
    oldest: bytes
    newest: bytes
    messages: int


def _merged(spans: list[_Span]) -> _Span:
    oldest = min(span.oldest for span in spans)
    return _Span(oldest, max(span.newest for span in spans), sum(span.messages for span in spans))


def _earlier(stamp: bytes) -> bytes:
    """Return a stamp `MARGIN_S` earlier."""
    seconds = datetime.fromisoformat(stamp[:19].decode()) - timedelta(seconds=MARGIN_S)
    return seconds.isoformat().encode() + stamp[19:]
