"""A container that was made for an attempt: what is sent to it, and what its end tells."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher import host_clock
from launcher.backends import Report
from launcher.container import Container
from launcher.engine import EngineError
from launcher.errors import HostError
from launcher.hosts import Machine

_NOT_RUNNING = (404, 409)
_EVENTS = 256  # that an engine remembers
_DEAF_S = 3.0  # on a busy host, from the start of a container until its PID 1 takes signals
_PAUSE_S = 0.5


class Made(NamedTuple):
    """A container that was made for an attempt of a task.

    started_at: when we started it; None where another launcher did, or nobody has.
    """

    container: Container
    attempt: int
    machine: Machine
    id: str
    report: Report
    started_at: float | None = None


def signal(made: Made, name: str) -> bool:
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


def terminate(made: Made) -> None:
    """Send SIGTERM, and again to what began a moment ago. Raises HostError.

    Until a container's PID 1 has set up its handlers, the kernel drops the signal.
    """
    while signal(made, "SIGTERM"):
        if made.started_at is None or time.monotonic() > made.started_at + _DEAF_S:
            return
        time.sleep(_PAUSE_S)


def ended_at(made: Made, state: Mapping[str, Any]) -> float | None:
    """Return when a container ended, by our clock; None where its host does not tell the time."""
    try:
        clock = host_clock.read(made.machine.engine)
    except HostError:
        return None
    return clock.monotonic(str(state["FinishedAt"]), latest=time.monotonic())


def end_of(made: Made, state: Mapping[str, Any]) -> tuple[int, str]:
    """Return how a container that has ended did, and why where its engine knows more."""
    code = _with_signal(int(state["ExitCode"]))
    if state.get("OOMKilled"):
        limit = made.container.limits.memory_bytes
        of = f" (its limit is {limit >> 20} MiB)" if limit else ""
        return code, f"killed by the kernel for lack of memory{of}"
    return code, str(state.get("Error") or "")


def _with_signal(code: int) -> int:
    """Return -N for what signal N ended: Docker, as a shell, says 128 + N."""
    return 128 - code if 128 < code <= 128 + 64 else code


def daemon_restarted(made: Made) -> bool:
    """Whether the engine was started after a container: its memory is young and lacks that."""
    engine = made.machine.engine
    now = host_clock.read(engine).zero_s + time.monotonic()  # what is later would be waited for
    with engine.errors("does not tell what happened"):
        # A fraction of a second is passed on as it is.
        told = engine.api.events(since=1, until=now, decode=True)  # type: ignore[call-overload]
        events = list(told)
    starts = (each for each in events if each.get("status") == "start")
    return len(events) < _EVENTS and made.id not in (each.get("id") for each in starts)
