"""Signals to containers, whose hosts may be slow to answer, or gone."""

import time

from launcher.at_once import within
from launcher.backends.made import Made
from launcher.engine import EngineError

_NOT_RUNNING = (404, 409)
# From the start of a container until its PID 1 takes signals, on a busy host. Not longer: a program
# that is in its training loop by then would take the second for "at once".
_DEAF_S = 1.0
_PAUSE_S = 0.5
_KILL_S = 6.0


def terminate(made: Made) -> None:
    """Ask a container to end, over a new connection where the old one was lost.

    Raises:
        HostError: it cannot be asked.
    """
    try:
        _ask_to_end(made)
    except EngineError as error:
        if error.status is not None:
            raise
        _ask_to_end(made)


def _ask_to_end(made: Made) -> None:
    """Send SIGTERM, and again to what began a moment ago.

    Until a container's PID 1 has set up its handlers, the kernel drops the signal.
    """
    while _sent(made, "SIGTERM"):
        if made.started_at is None or time.monotonic() > made.started_at + _DEAF_S:
            return
        time.sleep(_PAUSE_S)


def kill(made: Made) -> None:
    """Send SIGKILL to a container; nobody waits long for a host that cannot be reached.

    Raises:
        HostError: it cannot be reached.
    """
    why = f"{made.container.host}: cannot be reached to kill {made.container.task}"
    within(_KILL_S, lambda: _killed(made), why)


def _killed(made: Made) -> None:
    """Return once a container was sent SIGKILL: an engine may just be starting again."""
    give_up_at = time.monotonic() + _KILL_S
    while True:
        try:
            _sent(made, "SIGKILL")
            return
        except EngineError as error:
            if error.status is not None or time.monotonic() > give_up_at:
                raise
        time.sleep(_PAUSE_S)


def _sent(made: Made, name: str) -> bool:
    """Send a signal; return whether there was something running to get it. Raises HostError."""
    engine = made.machine.engine
    try:
        with engine.errors(f"cannot send {name} to {made.container.task}"):
            engine.api.kill(made.id, name)
    except EngineError as error:
        if error.status not in _NOT_RUNNING:
            raise
        return False
    return True
