"""A host's clock against this machine's: when, by our own clock, something there happened.

An engine tells times by its host's wall clock, which may be minutes off. One question tells how
its clock stands against our monotonic one, to half of the question's round trip; from then on its
times are ours. Events of several hosts can so be put into one order.
"""

import time
from datetime import UTC, datetime
from typing import NamedTuple

from launcher.engine import Engine

_NEVER = "0001-01-01"  # as an engine writes the time of what has not happened


class HostClock(NamedTuple):
    """How a host's clock stood when it was read.

    zero_s: what it showed (seconds since 1970) when our monotonic clock showed 0.
    ahead_s: how much it is ahead of this machine's wall clock.
    uncertain_s: how wrong either may be.
    """

    zero_s: float
    ahead_s: float
    uncertain_s: float

    def monotonic(self, stamp: str, latest: float) -> float | None:
        """Return when, by our monotonic clock, it was `stamp` there (`2026-11-27T07:40:47.5Z`).

        latest: when it was known to be over: no later time is returned.
        None for what has not happened, and for a text that is no time.
        """
        if stamp.startswith(_NEVER):
            return None
        try:
            shown = datetime.fromisoformat(stamp)
        except ValueError:
            return None
        if shown.tzinfo is None:
            shown = shown.replace(tzinfo=UTC)
        return min(shown.timestamp() - self.zero_s, latest)


def read(engine: Engine) -> HostClock:
    """Ask an engine what time it is: one round trip, some milliseconds of the engine's work.

    Raises:
        EngineError: the engine refuses, or cannot be reached.
    """
    asked_at, wall_at = time.monotonic(), time.time()
    with engine.errors("does not tell what time it is"):
        stamp = str(engine.api.info()["SystemTime"])
    return told(stamp, asked_at, time.monotonic(), wall_at)


def told(stamp: str, asked_at: float, answered_at: float, wall_at: float) -> HostClock:
    """Return a host's clock that showed `stamp` within a question that we asked.

    asked_at, answered_at: by our monotonic clock; wall_at: our wall clock at `asked_at`.
    """
    half_s = (answered_at - asked_at) / 2
    shown_s = datetime.fromisoformat(stamp).timestamp()
    return HostClock(shown_s - asked_at - half_s, shown_s - wall_at - half_s, half_s)
