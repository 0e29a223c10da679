"""Where the logs of a run's attempts are: in its folder here, or elsewhere.

A source tells each attempt's log once, as it comes, and when none will come any more.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from launcher.overview import position
from launcher.runs_here import RunHere, living_processes, read
from launcher.task import TaskId


class Log(NamedTuple):
    """The log of one attempt.

    host: empty where that is not known.
    """

    task: TaskId
    attempt: int
    path: str
    host: str = ""

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host else ""
        return f"{self.task}, attempt {self.attempt}{where}"


class Source(Protocol):
    """Logs, as they come."""

    @property
    def problems(self) -> Mapping[str, str]:
        """Why something could not be read, by its name."""

    @property
    def tasks(self) -> frozenset[TaskId]:
        """Every task of the run, as far as is known."""

    def new(self) -> tuple[Log, ...]:
        """Return the logs that have come since the last call, in order."""

    def wait(self) -> None:
        """Return once those logs hold what they held when they came."""

    def is_over(self) -> bool:
        """Whether no log will come or grow any more."""


class LogsHere:
    """The logs in a run's folder on this machine."""

    def __init__(self, here: RunHere, *, stderr: bool) -> None:
        self.problems: Mapping[str, str] = {}
        self.tasks = frozenset(here.tasks)
        self._run_dir = here.path
        self._stderr = stderr
        self._seen: set[Log] = set()

    def new(self) -> tuple[Log, ...]:
        """Return the logs that have come since the last call, in order."""
        come = sorted(set(logs_here(self._run_dir, stderr=self._stderr)) - self._seen, key=in_order)
        self._seen.update(come)
        return tuple(come)

    def wait(self) -> None:
        """Nothing to do: they are here."""

    def is_over(self) -> bool:
        """Whether nobody supervises the run any more, and no process of it lives."""
        here = read(self._run_dir)
        if here is None or here.holder:
            return here is None
        if here.report or here.in_containers:
            return True
        return here.run not in living_processes()


def logs_here(run_dir: Path, *, stderr: bool) -> Iterable[Log]:
    """Yield the logs in a run's folder."""
    end = ".stderr.log" if stderr else ".log"
    for path in (run_dir / "logs").glob(f"*{end}"):
        slug, _, attempt = path.name.removesuffix(end).rpartition(".")
        task_type, _, index = slug.rpartition("-")
        try:
            yield Log(TaskId.parse(f"{task_type}:{index}"), int(attempt), str(path))
        except ValueError:  # of another kind
            continue


def in_order(log: Log) -> tuple[tuple[int, int], int]:
    """Return what sorts logs by task and attempt."""
    return position(log.task), log.attempt
