"""What launcher.strategy promises: TensorFlow's rules of who does what, and what follows."""

import pytest

from launcher import strategy as rules
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

MWMS, PSS = Strategy.MULTI_WORKER_MIRRORED, Strategy.PARAMETER_SERVER
CHIEF_TYPE, WORKER, PS = TaskType.CHIEF, TaskType.WORKER, TaskType.PS


@pytest.mark.parametrize(
    ("asked", "has_ps", "resolved"),
    [
        (Strategy.AUTO, False, MWMS),
        (Strategy.AUTO, True, PSS),
        (MWMS, True, MWMS),
        (PSS, False, PSS),
    ],
)
def test_auto_looks_for_ps_tasks(asked: Strategy, has_ps: bool, resolved: Strategy) -> None:
    """`auto` is parameter_server just when there are ps tasks; a choice stays a choice."""
    assert rules.resolve(asked, has_ps=has_ps) is resolved


@pytest.mark.parametrize(
    ("strategy", "task_type", "role", "decides", "swallows"),
    [
        (MWMS, CHIEF_TYPE, Role.TRAIN, True, True),
        (MWMS, WORKER, Role.TRAIN, True, True),
        (MWMS, PS, Role.NOT_NEEDED, False, False),
        (MWMS, TaskType.EVALUATOR, Role.EVALUATE, False, False),
        (PSS, CHIEF_TYPE, Role.COORDINATE, True, False),
        (PSS, WORKER, Role.SERVE, False, False),
        (PSS, PS, Role.SERVE, False, False),
        (PSS, TaskType.EVALUATOR, Role.EVALUATE, False, False),
    ],
)
def test_roles(
    strategy: Strategy, task_type: TaskType, role: Role, decides: bool, swallows: bool
) -> None:
    """A task type has one role under a strategy, which says who decides and survives SIGTERM."""
    task = TaskId(task_type, 0)
    assert rules.role(strategy, task_type) is role
    assert rules.decides(strategy, task) is decides
    assert rules.is_deaf(strategy, task) is swallows


def test_only_the_evaluator_may_fail() -> None:
    """A run goes on without its evaluator and without no other task."""
    assert [t for t in TaskType if rules.may_fail(TaskId(t, 0))] == [TaskType.EVALUATOR]


@pytest.mark.parametrize(
    ("tasks", "chief"),
    [
        ([TaskId(WORKER, 0), CHIEF], CHIEF),
        ([TaskId(WORKER, 1), TaskId(WORKER, 0)], TaskId(WORKER, 0)),
        ([TaskId(PS, 0), EVALUATOR], None),
        ([], None),
    ],
)
def test_the_chief(tasks: list[TaskId], chief: TaskId | None) -> None:
    """The chief is the listed one, else worker 0, else nobody."""
    assert rules.chief(tasks) == chief


@pytest.mark.parametrize("task", [CHIEF, EVALUATOR, TaskId(WORKER, 12)])
def test_task_ids_read_back(task: TaskId) -> None:
    """A task reads back from its text; its slug can stand in file names."""
    assert TaskId.parse(str(task)) == task
    assert task.slug == f"{task.type.value}-{task.index}"


@pytest.mark.parametrize("text", ["worker", "worker:", "worker:x", "boss:0", ""])
def test_what_is_no_task_is_refused(text: str) -> None:
    """Anything but TYPE:INDEX is a ValueError."""
    with pytest.raises(ValueError):
        TaskId.parse(text)
