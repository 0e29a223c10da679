"""Looks for the ports that tasks open, so that it is known who is there and who is missing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.backends import Backend
from launcher.container import Container
from launcher.errors import HostError
from launcher.events import Up

_LOOK_S = 0.5


class Lookout:
    """Looks, in a thread of its own, for ports that tasks have opened."""

    def __init__(self, backend: Backend, report: Callable[[Up], None]) -> None:
        self._backend = backend
        self._report = report
        self._wanted: tuple[tuple[Container, int], ...] = ()
        self._is_over = threading.Event()

    def look_for(self, wanted: tuple[tuple[Container, int], ...]) -> None:
        """From now on look for these attempts' ports."""
        self._wanted = wanted

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look, as long as the block lasts."""
        threading.Thread(target=self._look, name="lookout", daemon=True).start()
        try:
            yield
        finally:
            self._is_over.set()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            wanted = self._wanted
            if not wanted:
                continue
            try:
                found = self._backend.listening([container for container, _ in wanted])
            except HostError:  # it is seen elsewhere that a host is gone
                continue
            for container, attempt in wanted:
                if container.task in found:
                    self._report(Up(time.monotonic(), container.task, attempt))
