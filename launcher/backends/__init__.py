"""What starts, stops and watches attempts of tasks: the one seam between a run and a machine."""

from collections.abc import Callable
from typing import Protocol

from launcher.container import Container
from launcher.lifecycle import Exited
from launcher.task import TaskId


class Backend(Protocol):
    """Runs attempts of tasks somewhere."""

    def start(self, container: Container, attempt: int, log_path: str) -> None:
        """Start an attempt. Raises HostError when it cannot be started."""

    def watch(self, task: TaskId, attempt: int, on_exit: Callable[[Exited], None]) -> None:
        """Call `on_exit` once, from any thread, when a started attempt has ended.

        All that the attempt started is gone then, and its log is complete.
        """

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Ask the running attempt of a task to end, or kill it with all that it started.

        Returns at once; a task that has ended already is left alone.
        """
