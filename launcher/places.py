"""Where a run's tasks stand while it goes on: the plan that it follows, and the next one."""

import threading
from collections.abc import Callable, Mapping

from launcher import strategy as rules
from launcher.container import Container
from launcher.placement import Moves
from launcher.plan import Plan
from launcher.task import TaskId

Replan = Callable[[Moves], Plan]  #: → another plan of the same run


class Places:
    """The plan that a run follows. Its methods may be called from any thread.

    replan: gives another plan; None where nothing else is possible.
    changing: to be held from before another plan is found until its tasks are on their way there:
        the next one begins with what this one has left.
    """

    def __init__(self, plan: Plan, replan: Replan | None) -> None:
        self.plan = plan
        self.changing = threading.Lock()
        self._replan = replan
        self._stood_on: dict[TaskId, str] = {}  # hosts of the latest attempts
        self._lost: set[str] = set()
        self._containers = {container.task: container for container in plan.tasks}

    @property
    def containers(self) -> Mapping[TaskId, Container]:
        """What is to be started of each task, and where."""
        return self._containers

    def taken(self, task: TaskId) -> Container:
        """Return a task that begins where the plan has it, and take note of that."""
        container = self._containers[task]
        self._stood_on[task] = container.host
        return container

    def lose(self, task: TaskId) -> None:
        """Take the host for lost on which a task's latest attempt was begun."""
        self._lost.add(self._stood_on[task])

    def must_move(self, task: TaskId) -> bool:
        """Whether an evaluator starts again whose host was lost since its end."""
        return rules.may_fail(task) and self._stood_on.get(task) in self._lost

    def find(self, starting: frozenset[TaskId]) -> None:
        """Follow a plan that has places for these tasks; of the others it says what this one does.

        Raises:
            InputError, HostError: there is no room for them, or that cannot be told.
        """
        if self._replan is None:
            return
        staying = tuple(c for task, c in self._containers.items() if task not in starting)
        moves = Moves(starting, frozenset(self._lost), staying)
        moves.check()
        plan = self._replan(moves)
        tasks = tuple(c if c.task in starting else self._containers[c.task] for c in plan.tasks)
        self.plan = plan.of_tasks(tasks)._replace(number=self.plan.number + 1)
        self._containers = {container.task: container for container in tasks}
