"""An attempt in a container, watched until its end: its log copied, and how it ended told."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from launcher import host_clock
from launcher.at_once import within
from launcher.backends.made import Made
from launcher.container import Container
from launcher.container_logs import LogFollower
from launcher.container_logs.retries import Unreachable
from launcher.engine import EngineError
from launcher.errors import HostError
from launcher.events import Exited, Lost
from launcher.homing import Homing
from launcher.results import Results

_GONE = 404
_ANSWER_S = 5.0
_PAUSE_S = 0.5
_EVENTS = 256  # that an engine remembers
# What ends a container when its daemon is stopped, or killed and started again.
_DAEMON_SIGNALS = (-9, -15)
_KILLED = -9


class Watch:
    """Watches attempts, each from a thread of its own.

    say: shows a line to the user.
    results, homing: told of logs and hosts that are lost.
    unreachable_s: after how long a host that cannot be reached is given up.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        results: Results,
        homing: Homing,
        unreachable_s: float,
    ) -> None:
        self._say = say
        self._results = results
        self._homing = homing
        self._unreachable_s = unreachable_s

    def follower(self, made: Made, log_path: str) -> LogFollower:
        """Return what copies a container's log into a file. Raises OSError."""
        return LogFollower(
            made.machine.engine,
            made.id,
            log_path,
            is_over=lambda: False,
            unreachable_s=self._unreachable_s,
        )

    def until_end(self, made: Made, follower: LogFollower) -> Exited | Lost:
        """Return how an attempt ended, once it has and its log is home, or will not come home."""
        task = made.container.task
        try:
            self._follow(made, follower)
            state = self._state_at_end(made)
            if state is None:
                return removed(made.container, made.attempt)
            code, reason = _end_of(made, state)
            if code in _DAEMON_SIGNALS and not reason and _daemon_restarted(made):
                why = f"{made.container.host}: its Docker was stopped, which ended {task}"
                reason = f"{why}; see there: journalctl -u docker"
        except HostError as error:
            return self.lost(made, str(error))
        return Exited(
            time.monotonic(), task, made.attempt, code, reason, ended_at=_ended_at(made, state)
        )

    def lost(self, made: Made, why: str) -> Lost:
        """Return that nobody can tell any more how an attempt does, and take note of it."""
        self._results.log_is_not_home(made.id)
        self._results.host_is_lost(made.container.host)
        self._homing.lost(made.container.host)
        return Lost(time.monotonic(), made.container.task, made.attempt, why)

    def _follow(self, made: Made, follower: LogFollower) -> None:
        """Copy a container's log until it has ended, or the log cannot be copied."""
        api = made.machine.engine.api
        try:
            follower.run()
        except Unreachable:
            raise
        except (HostError, OSError) as error:
            host = made.container.host
            with made.machine.engine.errors("does not answer"):
                within(_ANSWER_S, api.ping, str(error))
            # What failed may be this machine's disk alone: the task goes on all the same.
            why = error if isinstance(error, HostError) else f"{error.filename}: {error.strerror}"
            self._say(f"launch: the log of {made.container.task} on {host} is not whole: {why}")
            self._results.log_is_not_home(made.id)

    def _state_at_end(self, made: Made) -> Mapping[str, Any] | None:
        """Return what the engine says of a container's end, after waiting; None: it is gone."""
        engine, task = made.machine.engine, made.container.task
        give_up_at = time.monotonic() + self._unreachable_s
        while True:
            try:
                with engine.errors(f"cannot say how {task} ended"):
                    state: Mapping[str, Any] = engine.api.inspect_container(made.id)["State"]
                    if not state["Running"]:
                        return state
                    engine.api.wait(made.id)
            except EngineError as error:
                if error.status == _GONE:
                    return None
                if error.status is not None or time.monotonic() > give_up_at:
                    raise
                time.sleep(_PAUSE_S)


def removed(container: Container, attempt: int) -> Exited:
    """Return the end of an attempt whose container is gone."""
    why = f"{container.host}: somebody removed its container"
    return Exited(time.monotonic(), container.task, attempt, _KILLED, why)


def _ended_at(made: Made, state: Mapping[str, Any]) -> float | None:
    """Return when a container ended, by our clock; None where its host does not tell the time."""
    try:
        clock = host_clock.read(made.machine.engine)
    except HostError:
        return None
    return clock.monotonic(str(state["FinishedAt"]), latest=time.monotonic())


def _end_of(made: Made, state: Mapping[str, Any]) -> tuple[int, str]:
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


def _daemon_restarted(made: Made) -> bool:
    """Whether the engine was started after a container: its memory is young and lacks that."""
    engine = made.machine.engine
    now = host_clock.read(engine).zero_s + time.monotonic()  # what is later would be waited for
    with engine.errors("does not tell what happened"):
        # A fraction of a second is passed on as it is.
        told = engine.api.events(since=1, until=now, decode=True)  # type: ignore[call-overload]
        events = list(told)
    starts = (each for each in events if each.get("status") == "start")
    return len(events) < _EVENTS and made.id not in (each.get("id") for each in starts)
