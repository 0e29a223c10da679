"""What ends a launcher early: ^C before a run listens for it, or another that took its run up."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from launcher import stop_signals
from launcher.cli import say_error

_TERMINATED = 143


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise in the block instead of ending the launcher at once."""
    with stop_signals.handled(_raise):
        yield


def _raise(signum: int, _frame: FrameType | None) -> None:
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(_TERMINATED)


def superseded(who: str) -> None:
    """End this launcher, and touch nothing: another has taken the run up."""
    say_error(f"launch: {who} now; this launcher leaves it alone")
    sys.stdout.flush()
    os._exit(3)
