"""SIGINT, SIGTERM and SIGHUP to the launcher as a wish that its run ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from launcher.run import Outcome

_OUTCOMES = {
    signal.SIGINT: Outcome.INTERRUPTED,
    signal.SIGTERM: Outcome.TERMINATED,
    signal.SIGHUP: Outcome.TERMINATED,
}


@contextmanager
def taken(ask: Callable[[Outcome], None]) -> Iterator[None]:
    """Have these signals ask for an outcome, instead of ending the launcher, in the block.

    Enter it in the main thread. One that was ignored when we were started (nohup) stays ignored.
    """

    def take(signum: int, _frame: FrameType | None) -> None:
        ask(_OUTCOMES[signal.Signals(signum)])

    handled = [s for s in _OUTCOMES if signal.getsignal(s) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, take) for signum in handled}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
