"""How fast one sshd is asked for new connections, and how often again.

An sshd of default settings (MaxStartups 10:30:100) drops connections at random once ten are not
logged in yet. So there are never more than eight of ours, and what is dropped is tried again after
a time that no two hosts share.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_AT_ONCE = 8
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.0
_REFUSED_S = 3.0  # nobody listens: an sshd that restarts is back by then

_Got = TypeVar("_Got")


class Dropped(Exception):
    """An attempt that may do better later. `is_refusal`: nobody listens there."""

    def __init__(self, reason: str, *, is_refusal: bool = False) -> None:
        super().__init__(reason)
        self.is_refusal = is_refusal


class Pacing:
    """How many connections to each sshd are not logged in yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[object, threading.Semaphore] = {}

    @contextmanager
    def turn(self, endpoint: object) -> Iterator[None]:
        """Wait until one more connection to that sshd may be made, and count it meanwhile."""
        with self._lock:
            gate = self._gates.setdefault(endpoint, threading.Semaphore(_AT_ONCE))
        with gate:
            yield


def persist(attempt: Callable[[], _Got], patience_s: float) -> _Got:
    """Return what `attempt` returns, trying again where it was dropped.

    patience_s: how long, from the first drop; refusals are given up sooner.

    Raises:
        Dropped: of the last attempt.
    """
    pause_s = _FIRST_PAUSE_S
    first_drop_at: float | None = None
    while True:
        try:
            return attempt()
        except Dropped as dropped:
            now = time.monotonic()
            first_drop_at = first_drop_at or now
            limit_s = min(patience_s, _REFUSED_S) if dropped.is_refusal else patience_s
            if now + pause_s > first_drop_at + limit_s:
                raise
        time.sleep(random.uniform(0.3, 1.0) * pause_s)  # noqa: S311 - no secret
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.7)
