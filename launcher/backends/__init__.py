"""What starts, stops and watches attempts of tasks: the one seam between a run and its machines."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from launcher.container import Container
from launcher.events import Exited, Lost, Started, StartFailed
from launcher.plan import Plan
from launcher.stacks import Stacks
from launcher.task import TaskId

Report = Callable[[Started | StartFailed | Exited | Lost], None]


class Brought(NamedTuple):
    """A folder of results that came home.

    skipped: what of it may not be here (a device, a link out of the folder), with the reasons.
    """

    path: str
    files: int
    size_bytes: int
    skipped: tuple[str, ...] = ()


class Homecoming(NamedTuple):
    """What became of a run's results.

    problems: what could not be brought, each with the way to get it.
    """

    brought: tuple[Brought, ...] = ()
    problems: tuple[str, ...] = ()


class Backend(Protocol):
    """Runs attempts of tasks somewhere. No call waits for a machine but `finish`."""

    def start(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Begin to start an attempt.

        From any thread `report` is given a Started or a StartFailed, and after a Started, once,
        an Exited or a Lost. The log file exists when Started is given. When Exited is given, all
        that the attempt started is gone and its log is complete.
        """

    def adopt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Watch an attempt that was started before, as if it had been started now."""

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Ask the running attempt of a task to end, or kill it with all that it started.

        A task that has ended already is left alone.
        """

    def listening(self, containers: Sequence[Container]) -> Collection[TaskId]:
        """Return those of the tasks whose port is open. May take as long as a host takes.

        Raises:
            HostError: a host does not say.
        """

    def stacks(self, task: TaskId, announced: Collection[int]) -> Stacks:
        """Return where the running attempt of a task is; what can say so itself says it there.

        announced: its processes of which markers said that they may be asked. May take seconds.
        """

    def event_files_age_s(self) -> float | None:
        """Return how long ago an event file of a task that lives last grew. May take seconds.

        None where there are none, or a host does not tell.
        """

    def follow_plan(self, plan: Plan) -> None:
        """From now on start tasks as this plan of the same run says."""

    def start_no_more(self) -> None:
        """Let every start that is still under way end, soon, as a StartFailed."""

    def finish(self) -> Homecoming:
        """Bring home what the tasks made, and remove what the run made; nothing lives any more.

        Where something cannot be brought home, it is left where it is.
        """

    def hurry(self) -> None:
        """Let `finish` end soon: the user does not want to wait."""
