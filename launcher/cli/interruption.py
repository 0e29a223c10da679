"""What ends a launcher early: ^C before a run listens for it, or another that took its run up."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from launcher.cli import say_error

_TERMINATED = 143


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise in the block instead of ending the launcher at once.

    Enter it in the main thread. A signal that was ignored when we were started stays ignored.
    """
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handled = [each for each in wanted if signal.getsignal(each) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, _raise) for signum in handled}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _raise(signum: int, _frame: FrameType | None) -> None:
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(_TERMINATED)


def superseded(who: str) -> None:
    """End this launcher, and touch nothing: another has taken the run up."""
    say_error(f"launch: {who} now; this launcher leaves it alone")
    sys.stdout.flush()
    os._exit(3)
