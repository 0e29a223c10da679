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
    """Have these signals ask for an outcome, instead of ending the launcher, in the block."""
    with handled(lambda signum, _frame: ask(_OUTCOMES[signal.Signals(signum)])):
        yield


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a function handle these signals in the block.

    Enter it in the main thread. One that was ignored when we were started (nohup) stays ignored.
    """
    wanted = [s for s in _OUTCOMES if signal.getsignal(s) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, handler) for signum in wanted}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
