"""Which task plays which role under which tf.distribute strategy, and what follows from that.

The strategy is a property of the run, the role one of the task. This file knows the rules of
TensorFlow 2.21 and nothing of processes, hosts or files.
"""

from collections.abc import Collection
from enum import StrEnum

from launcher.task import TaskId, TaskType


class Strategy(StrEnum):
    """How a run trains; AUTO is resolved by the presence of ps tasks."""

    AUTO = "auto"
    MULTI_WORKER_MIRRORED = "multi_worker_mirrored"
    PARAMETER_SERVER = "parameter_server"


class Role(StrEnum):
    """What one process does."""

    TRAIN = "train"  #: computes gradients and reduces them with its peers
    COORDINATE = "coordinate"  #: schedules steps on the workers
    SERVE = "serve"  #: runs a tf.distribute.Server that never ends by itself
    EVALUATE = "evaluate"  #: evaluates each checkpoint, builds no strategy
    NOT_NEEDED = "not_needed"  #: has no place under this strategy


def resolve(strategy: Strategy, *, has_ps: bool) -> Strategy:
    """Return the strategy that `auto` means for a cluster; any other is returned as it is."""
    if strategy is not Strategy.AUTO:
        return strategy
    return Strategy.PARAMETER_SERVER if has_ps else Strategy.MULTI_WORKER_MIRRORED


def role(strategy: Strategy, task_type: TaskType) -> Role:
    """Return the role of a task type under a resolved strategy."""
    if task_type is TaskType.EVALUATOR:
        return Role.EVALUATE
    if strategy is Strategy.MULTI_WORKER_MIRRORED:
        return Role.NOT_NEEDED if task_type is TaskType.PS else Role.TRAIN
    return Role.COORDINATE if task_type is TaskType.CHIEF else Role.SERVE


def chief(tasks: Collection[TaskId]) -> TaskId | None:
    """Return the chief of a cluster: the declared one, else worker 0 (TensorFlow's own rule)."""
    for candidate in (TaskId(TaskType.CHIEF, 0), TaskId(TaskType.WORKER, 0)):
        if candidate in tasks:
            return candidate
    return None


def decides(strategy: Strategy, task: TaskId) -> bool:
    """Whether the run has succeeded only once this task has ended with 0."""
    return role(strategy, task.type) in (Role.TRAIN, Role.COORDINATE)


def may_fail(task: TaskId) -> bool:
    """Whether the run goes on without this task: the evaluator never fails a run."""
    return task.type is TaskType.EVALUATOR


def blast_radius(strategy: Strategy, task: TaskId, tasks: Collection[TaskId]) -> frozenset[TaskId]:
    """Return the tasks that must start again when one of them is lost.

    TensorFlow 2.21: a lost worker of MultiWorkerMirroredStrategy ends the others' collectives; a
    ParameterServerStrategy goes on without a worker, and finds its servers again after a lost
    chief, but a ps takes variables with it.
    """
    if task.type is TaskType.EVALUATOR:
        return frozenset({task})
    if strategy is Strategy.PARAMETER_SERVER and task.type is not TaskType.PS:
        return frozenset({task})
    return frozenset(each for each in tasks if each.type is not TaskType.EVALUATOR)


def is_deaf(strategy: Strategy, task: TaskId) -> bool:
    """Whether TensorFlow keeps a task alive through SIGTERM.

    The preemption watcher of MultiWorkerMirroredStrategy catches it, and before the cluster has
    formed it is ignored altogether.
    """
    return strategy is Strategy.MULTI_WORKER_MIRRORED and role(strategy, task.type) is Role.TRAIN
