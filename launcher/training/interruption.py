"""SIGTERM as a wish that the training loop reads between calls, and the exit code that answers.

TensorFlow's own watcher swallows SIGTERM once a MultiWorkerMirrored cluster has formed; a handler
installed after that takes it back. Outside of the training loop SIGTERM ends the process, as does
a second one inside.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: The exit code of a task that stopped as asked, with its state saved.
STOPPED = 42


def reclaim() -> None:
    """Have SIGTERM do again what Python says it does, after TensorFlow took it over."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


class Interruption:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.is_asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take SIGTERM over within the block; enter it after the strategy was made.

        Python delivers signals to the main thread alone: in another thread this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            os._exit(128 + number)
        self.is_asked = True
