"""How long, and how often, an engine that fails is asked again."""

import random
import time

from launcher.errors import HostError

_PAUSE_S = 0.1  # the first; each further one is twice as long
_LONGEST_PAUSE_S = 5.0
_MOST_FAULTS = 8  # in a row of an engine that answers


class Unreachable(HostError):
    """A host was silent for too long."""


class Retries:
    """Paces the retries on one engine, and ends them when it was silent for `unreachable_s`."""

    def __init__(self, unreachable_s: float) -> None:
        self._unreachable_s = unreachable_s
        self._jitter = random.SystemRandom()
        self._heard_at = 0.0
        self.heard()
        self.moved()

    def heard(self, ago_s: float = 0.0) -> None:
        """The engine answers, or did so `ago_s` before."""
        self._heard_at = max(self._heard_at, time.monotonic() - ago_s)

    def moved(self) -> None:
        """Something new has come: what fails next fails for the first time."""
        self._pause_s = _PAUSE_S
        self._faults = 0

    def failed(self, error: HostError, at_most_s: float) -> None:
        """Raise a HostError when the host has been unreachable for too long."""
        silent_s = time.monotonic() - self._heard_at
        if silent_s > min(self._unreachable_s, at_most_s):
            raise Unreachable(
                f"{error}; after {silent_s:.0f} s of this its containers' logs are not followed "
                "any more; the containers keep them"
            ) from None

    def refused(self, error: HostError) -> None:
        """Raise it when the engine has answered so too often at the same place."""
        self.heard()
        self._faults += 1
        if self._faults >= _MOST_FAULTS:
            raise error from None

    def pause(self) -> None:
        """Wait before the next try, longer each time and never in step with others."""
        time.sleep(self._pause_s * self._jitter.uniform(0.5, 1))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
