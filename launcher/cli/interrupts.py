"""Signals that may wait a moment, so that what was made on a host is removed there."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let a first ^C or SIGTERM wait until this is left; a second one takes its usual effect."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if noted:
            _take(number, before)
        noted.append(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            _take(noted[0], before)


def _take(number: int, before: "dict[signal.Signals, signal._HANDLER]") -> None:
    signal.signal(number, before[signal.Signals(number)])
    os.kill(os.getpid(), number)
