"""What TensorFlow calls a task: its type and its index in the cluster."""

from enum import StrEnum
from typing import NamedTuple


class TaskType(StrEnum):
    """The task types of TensorFlow 2, in the order in which we list them."""

    CHIEF = "chief"
    WORKER = "worker"
    PS = "ps"
    EVALUATOR = "evaluator"


class TaskId(NamedTuple):
    """One task of a cluster; `worker:0` in text, `worker-0` in names of files and containers."""

    type: TaskType
    index: int  # type: ignore[assignment]  # hides tuple.index

    def __str__(self) -> str:
        return f"{self.type.value}:{self.index}"

    @property
    def slug(self) -> str:
        return f"{self.type.value}-{self.index}"

    @classmethod
    def parse(cls, text: str) -> "TaskId":
        """Return the task that `worker:0` names. Raises ValueError for anything else."""
        task_type, _, index = text.partition(":")
        return cls(TaskType(task_type), int(index))


CHIEF = TaskId(TaskType.CHIEF, 0)
EVALUATOR = TaskId(TaskType.EVALUATOR, 0)
