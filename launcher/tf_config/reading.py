"""How a TF_CONFIG is read: whatever form it has, into a cluster in chief form and a task.

All that was rewritten becomes a finding, all that no TensorFlow process could use a problem.
"""

from collections.abc import Mapping

from launcher import strategy as rules
from launcher.address import Address
from launcher.errors import TfConfigError, nearest
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType
from launcher.tf_config.clusters import (
    MASTER,
    TYPES,
    Cluster,
    ClusterReader,
    Finding,
    IsHere,
    is_index,
    kind_of,
)

_ABSENT = object()
#: TfConfig's fields, in its order
Fields = tuple[
    Cluster,
    TaskId | None,
    Strategy,
    tuple[Finding, ...],
    Mapping[str, object],
    Mapping[str, object],
]


def visible(cluster: Cluster, task: TaskId | None, strategy: Strategy) -> Cluster:
    """Return what of a whole cluster a task must see."""
    if task and task.type is TaskType.EVALUATOR:
        return {t: a for t, a in cluster.items() if t is TaskType.EVALUATOR}
    hidden = {TaskType.EVALUATOR}
    if strategy is Strategy.MULTI_WORKER_MIRRORED and (not task or task.type is not TaskType.PS):
        hidden.add(TaskType.PS)
    return {t: a for t, a in cluster.items() if t not in hidden}


class Reader(ClusterReader):
    """Reads one TF_CONFIG."""

    def __init__(self, strategy: Strategy, is_here: IsHere | None = None) -> None:
        super().__init__()
        self.strategy = strategy
        self._is_here = is_here

    def read(self, text: str) -> Fields:
        """Return what a text says. Raises TfConfigError with all that is wrong."""
        value = self._object(text)
        cluster = self.cluster(value.get("cluster", {}), "cluster")
        whole = not self.problems
        task, task_rest = self._task(value.get("task", _ABSENT))
        if task and whole and self.has_master:
            task = self._counted_from_master(task, cluster)
        if task and whole:
            self._check_member(task, cluster)
        elif "task" not in value and cluster:
            self.problem("task", 'missing: expected {"type": …, "index": …} beside the cluster')
        strategy = rules.resolve(self.strategy, has_ps=TaskType.PS in cluster)
        if not self.problems:
            self._check_roles(cluster, task, strategy)
        if self.problems:
            raise TfConfigError(self.problems)
        seen = self._hide(cluster, task, strategy)
        rest = {key: v for key, v in value.items() if key not in ("cluster", "task")}
        return seen, task, strategy, tuple(self.findings), rest, task_rest

    def _object(self, text: str) -> Mapping[str, object]:
        import json

        def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
            seen: dict[str, object] = {}
            for key, value in pairs:
                if key in seen:
                    self.problem(key, "this key stands twice in one object")
                seen[key] = value
            return seen

        try:
            value = json.loads(text, object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            self.problem(f"line {error.lineno} column {error.colno}", f"not JSON: {error.msg}")
            raise TfConfigError(self.problems) from None
        except (ValueError, RecursionError) as error:
            raise TfConfigError(f"not JSON that can be read: {error}") from None
        if not isinstance(value, dict):
            raise TfConfigError(f"expected a JSON object, got {kind_of(value)}")
        return value

    def _task(self, value: object) -> tuple[TaskId | None, Mapping[str, object]]:
        if value is _ABSENT:
            return None, {}
        if not isinstance(value, dict):
            self.problem("task", f"expected an object, got {kind_of(value)}")
            return None, {}
        rest = {key: v for key, v in value.items() if key not in ("type", "index")}
        task_type, index = self._task_type(value.get("type")), self._index(value.get("index"))
        if task_type is None or index is None:
            return None, rest
        return TaskId(task_type, index), rest

    def _counted_from_master(self, task: TaskId, cluster: Cluster) -> TaskId:
        """Return the task whose address is this machine's, if its index counts the master first.

        UAI Train's documents call the first node's trainer worker 0, its SDK master 0; either way
        that node is listed as the master, and the workers are those behind it.
        """
        masters, workers = cluster.get(CHIEF.type, ()), cluster.get(TaskType.WORKER, ())
        trainers = (*masters, *workers)
        if self._is_here is None or task.type is not TaskType.WORKER or not masters:
            return task
        if not self._any_here(trainers[task.index :][:1]):
            return task
        if self._any_here(workers[task.index :][:1]):
            return task
        meant = TaskId(TaskType.WORKER, task.index - 1) if task.index else CHIEF
        why = f"{trainers[task.index]} is this machine: the master was counted as worker 0"
        self.change(f"task {task} is now {meant}", why)
        return meant

    def _any_here(self, addresses: tuple[str, ...]) -> bool:
        assert self._is_here
        return any(self._is_here(Address.parse(address).host) for address in addresses)

    def _check_member(self, task: TaskId, cluster: Cluster) -> None:
        """Refuse a task outside its cluster; an evaluator, or a task alone, need not be listed."""
        count = len(cluster.get(task.type, ()))
        unlisted = count == 0 and task.index == 0 and (task == EVALUATOR or not cluster)
        if task.index >= count and not unlisted:
            self.problem(
                "task.index", f"{task} is not in the cluster, which has {count} {task.type.value}"
            )

    def _task_type(self, value: object) -> TaskType | None:
        if not isinstance(value, str) or value not in TYPES:
            got = "nothing" if value is None else repr(value)
            hint = nearest(value, TYPES) if isinstance(value, str) else ""
            self.problem("task.type", f"expected one of {', '.join(TYPES)}, got {got}{hint}")
            return None
        if value == MASTER:
            self.change("task.type master is now chief", "TensorFlow 2 refuses the master role")
            return TaskType.CHIEF
        return TaskType(value)

    def _index(self, value: object) -> int | None:
        if isinstance(value, str) and is_index(value):
            self.change(f'task.index "{value}" is now a number', "every reader agrees on a number")
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            got = "nothing" if value is None else repr(value)
            self.problem("task.index", f"expected an integer ≥ 0, got {got}")
            return None
        return value

    # strategy

    def _check_roles(self, cluster: Cluster, task: TaskId | None, strategy: Strategy) -> None:
        if not cluster or task == EVALUATOR:
            return
        if strategy is Strategy.PARAMETER_SERVER:
            for task_type in (TaskType.CHIEF, TaskType.WORKER, TaskType.PS):
                if task_type not in cluster:
                    self.problem(
                        f"cluster.{task_type.value}",
                        "missing: parameter_server needs a chief, a worker and a ps",
                    )
        elif not {TaskType.CHIEF, TaskType.WORKER} & set(cluster):
            self.problem("cluster", "expected a chief or a worker: nobody would train")
        elif TaskType.CHIEF not in cluster:
            self.note("worker:0 acts as the chief", "no chief is listed, TensorFlow's own rule")

    def _hide(self, cluster: Cluster, task: TaskId | None, strategy: Strategy) -> Cluster:
        """Return what `task` may see of the cluster, saying what it may not."""
        seen = visible(cluster, task, strategy)
        if task and task.type is TaskType.EVALUATOR:
            if seen != cluster:
                self.change("the cluster is cut to the evaluator", "it is part of no strategy")
            return seen
        if TaskType.EVALUATOR in cluster:
            self.change("cluster.evaluator is left out", "only the evaluator itself may see it")
        if TaskType.PS in cluster and TaskType.PS not in seen:
            self.change(
                "cluster.ps is left out",
                "multi_worker_mirrored has no parameter servers and hangs when one is listed",
            )
        if task and rules.role(strategy, task.type) is Role.NOT_NEEDED:
            self.note(f"{task} is not needed", "multi_worker_mirrored has no parameter servers")
        return seen
