"""The logs of a run's containers, copied from their hosts while they are read.

They go into a folder of the reader's own: a run's folder has one writer, its supervisor.
"""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from launcher.at_once import attempts
from launcher.container_logs import LogFollower, stderr_path
from launcher.errors import HostError
from launcher.found import Found, found
from launcher.hosts import Machine
from launcher.lease import is_held
from launcher.log_sources import Log
from launcher.logins import UNREACHABLE_S
from launcher.overview import position
from launcher.task import TaskId

_ASK_S = 1.0
_QUIET_S = 12.0  # after failures, for as long as a restart may take to come
_CLAIMS_S = 2.0  # the same, for a launcher that has just begun to say that it lives


class LogsOnHosts:
    """The logs of a run's containers, copied into a folder of the reader's own.

    follow: whether containers that run are followed to their end.
    """

    def __init__(
        self,
        machines: Iterable[Machine],
        run: str,
        folder: Path,
        *,
        stderr: bool,
        follow: bool,
    ) -> None:
        self.problems: dict[str, str] = {}
        self._machines = tuple(machines)
        self._run = run
        self._folder = folder
        self._stderr = stderr
        self._follow = follow
        self._containers: tuple[Found, ...] = ()
        self._copying: dict[str, threading.Thread] = {}
        self._silent_at: dict[str, float] = {}
        self._asked_at = self._changed_at = self._looked_at = float("-inf")
        self._supervised: bool | None = None

    @property
    def tasks(self) -> frozenset[TaskId]:
        """Every task of the run, as far as its containers say."""
        return frozenset(task for one in self._containers for task in (*one.tasks, one.task))

    def new(self) -> tuple[Log, ...]:
        """Return the logs of containers that have come since the last call, copied from now on."""
        if time.monotonic() < self._asked_at + _ASK_S:
            return ()
        self._ask()
        come = [one for one in self._containers if one.state != "created"]
        return tuple(
            self._copied(one)
            for one in sorted(come, key=lambda one: (position(one.task), one.attempt))
            if one.id not in self._copying
        )

    def wait(self) -> None:
        """Return once all that was begun is copied."""
        for copying in self._copying.values():
            copying.join()

    def is_over(self) -> bool:
        """Whether all is copied, and the run has ended as far as its containers tell."""
        if any(copying.is_alive() for copying in self._copying.values()):
            return False
        now = time.monotonic()
        if any(now < silent_at + UNREACHABLE_S for silent_at in self._silent_at.values()):
            return False  # they may be back
        latest = {c.task: c for c in sorted(self._containers, key=lambda c: c.attempt)}.values()
        if any(one.lives for one in latest):
            return False
        if all(one.code == 0 for one in latest):
            return True
        if now < self._changed_at + _CLAIMS_S:
            return False
        is_supervised = self._is_supervised()
        if is_supervised is None:
            return now > self._changed_at + _QUIET_S
        return not is_supervised

    def _is_supervised(self) -> bool | None:
        """Whether a launcher lives that may start the run again; None where nobody can tell."""
        if time.monotonic() > self._looked_at + _ASK_S:
            told = attempts(self._machines, lambda m: is_held(self._run, m.shell))
            one_is_silent = any(each is None or isinstance(each, HostError) for each in told)
            self._supervised = True if True in told else None if one_is_silent else False
            self._looked_at = time.monotonic()
        return self._supervised

    def _ask(self) -> None:
        """Ask every host what containers of the run it has; one that is silent keeps its own."""
        asked = attempts(self._machines, lambda machine: found(machine.engine, self._run))
        kept = {one.id: one for one in self._containers}
        now: tuple[Found, ...] = ()
        for machine, got in zip(self._machines, asked, strict=True):
            if isinstance(got, HostError):
                self.problems[machine.name] = str(got)
                self._silent_at.setdefault(machine.name, time.monotonic())
                got = tuple(one for one in kept.values() if one.host == machine.name)
            else:
                self.problems.pop(machine.name, None)
                self._silent_at.pop(machine.name, None)
            now += got
        if _states(now) != _states(self._containers):
            self._changed_at = time.monotonic()
        self._containers = now
        self._asked_at = time.monotonic()

    def _copied(self, one: Found) -> Log:
        (machine,) = (m for m in self._machines if m.name == one.host)
        path = str(self._folder / f"{one.task.slug}.{one.attempt}.log")
        follower = LogFollower(machine.engine, one.id, path, is_over=lambda: False)
        copying = threading.Thread(
            target=self._copy, args=(one, follower.run), name=f"log {one.task}", daemon=True
        )
        self._copying[one.id] = copying
        copying.start()
        shown = stderr_path(path) if self._stderr else path
        return Log(one.task, one.attempt, shown, one.host)

    def _copy(self, one: Found, run: Callable[..., None]) -> None:
        try:
            run(follow=self._follow)
        except HostError as error:
            self.problems[one.name] = str(error)
        except OSError as error:
            self.problems[one.name] = f"{error.filename}: {error.strerror}"


def _states(containers: Iterable[Found]) -> set[tuple[str, str]]:
    return {(one.id, one.state) for one in containers}
