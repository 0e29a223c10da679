"""TF_CONFIG: read in every form met in the field, normalised to chief form, rendered per task.

This is the only file that knows the format. What TensorFlow 2.21 does with each form was
established by running it: `master` is refused, a `ps` listed under MultiWorkerMirroredStrategy
hangs in silence, an empty `ps` list crashes, an evaluator that others can see hangs
ParameterServerStrategy. Importing this module needs neither TensorFlow nor Docker.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from launcher import strategy as rules
from launcher.address import Address
from launcher.errors import Problem, TfConfigError, nearest
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

Cluster = Mapping[TaskType, tuple[str, ...]]
IsHere = Callable[[str], bool]  #: a host of an address → whether it is this machine
_MASTER = "master"
_ABSENT = object()
_TYPES = (*(t.value for t in TaskType), _MASTER)


class Finding(NamedTuple):
    """One thing said about a TF_CONFIG: `change` (it was rewritten) or `note` (it was not)."""

    kind: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: {self.why}"


class TfConfig(NamedTuple):
    """A TF_CONFIG in chief form, as one task sees it.

    cluster: task type → `host:port` in task order, without empty types. It never holds a `ps`
        under multi_worker_mirrored, nor the evaluator unless this task is the evaluator (which
        then sees itself alone).
    task: this task, or None for a process that belongs to no cluster.
    strategy: resolved, never AUTO.
    rest: the keys of the object that TensorFlow does not own here, kept in their order.
    task_rest: the keys beside `type` and `index` inside `task`, kept.
    """

    cluster: Cluster
    task: TaskId | None
    strategy: Strategy
    findings: tuple[Finding, ...] = ()
    rest: Mapping[str, object] = {}
    task_rest: Mapping[str, object] = {}

    @classmethod
    def parse(
        cls, text: str, strategy: Strategy = Strategy.AUTO, is_here: IsHere | None = None
    ) -> "TfConfig":
        """Return the normalised form of a TF_CONFIG; normalising again changes nothing.

        is_here: asked where a platform may have counted the master among the workers, so that the
            task's index means another address; None where the text is not of this machine.

        Raises:
            TfConfigError: with every problem found, each with its key path.
        """
        return _Reader(strategy, is_here).read(text)

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str] = os.environ,
        strategy: Strategy = Strategy.AUTO,
        is_here: IsHere | None = None,
    ) -> "TfConfig | None":
        """Return what $TF_CONFIG holds, or None when it is unset or blank."""
        text = environ.get("TF_CONFIG", "")
        return cls.parse(text, strategy, is_here) if text.strip() else None

    @classmethod
    def for_task(cls, cluster: Cluster, task: TaskId, strategy: Strategy) -> "TfConfig":
        """Return what `task` must see of a whole, valid cluster under a resolved strategy."""
        return cls(_visible(cluster, task, strategy), task, strategy)

    @property
    def role(self) -> Role | None:
        """What this task does, or None without a task."""
        return rules.role(self.strategy, self.task.type) if self.task else None

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """Every task of the cluster that this task can see."""
        return tuple(_tasks(self.cluster))

    @property
    def is_chief(self) -> bool:
        """Whether this task is the cluster's chief, or stands alone."""
        return self.task is None or self.task == rules.chief(self.tasks)

    def address(self, task: TaskId) -> str:
        """Return the `host:port` of a task of the cluster."""
        return self.cluster[task.type][task.index]

    def to_json(self) -> str:
        """Return the TF_CONFIG as the text that TensorFlow reads."""
        import json

        value: dict[str, object] = {"cluster": {t.value: list(a) for t, a in self.cluster.items()}}
        if self.task:
            task = {"type": self.task.type.value, "index": self.task.index}
            value["task"] = {**task, **self.task_rest}
        return json.dumps({**value, **self.rest})


def read_cluster(value: object, where: str) -> tuple[Cluster, tuple[Finding, ...], list[Problem]]:
    """Return the `cluster` object of a TF_CONFIG in chief form, evaluator and ps included.

    For a cluster that stands elsewhere than in a TF_CONFIG (the old form of cluster.yaml). `where`
    is the key path to name in problems.
    """
    reader = _Reader(Strategy.AUTO)
    cluster = reader.cluster(value, where)
    return cluster, tuple(reader.findings), reader.problems


def _tasks(cluster: Cluster) -> Iterator[TaskId]:
    for task_type in TaskType:
        for index in range(len(cluster.get(task_type, ()))):
            yield TaskId(task_type, index)


def _visible(cluster: Cluster, task: TaskId | None, strategy: Strategy) -> Cluster:
    if task and task.type is TaskType.EVALUATOR:
        return {t: a for t, a in cluster.items() if t is TaskType.EVALUATOR}
    hidden = {TaskType.EVALUATOR}
    if strategy is Strategy.MULTI_WORKER_MIRRORED and (not task or task.type is not TaskType.PS):
        hidden.add(TaskType.PS)
    return {t: a for t, a in cluster.items() if t not in hidden}


class _Reader:
    """Reads one TF_CONFIG, collecting what it changed and what is wrong."""

    def __init__(self, strategy: Strategy, is_here: IsHere | None = None) -> None:
        self.strategy = strategy
        self._is_here = is_here
        self._has_master = False
        self.findings: list[Finding] = []
        self.problems: list[Problem] = []

    def read(self, text: str) -> TfConfig:
        value = self._object(text)
        cluster = self.cluster(value.get("cluster", {}), "cluster")
        whole = not self.problems
        task, task_rest = self._task(value.get("task", _ABSENT))
        if task and whole and self._has_master:
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
        visible = self._hide(cluster, task, strategy)
        rest = {key: v for key, v in value.items() if key not in ("cluster", "task")}
        return TfConfig(visible, task, strategy, tuple(self.findings), rest, task_rest)

    def change(self, what: str, why: str) -> None:
        self.findings.append(Finding("change", what, why))

    def note(self, what: str, why: str) -> None:
        self.findings.append(Finding("note", what, why))

    def problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

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
            raise TfConfigError(f"expected a JSON object, got {_kind(value)}")
        return value

    # cluster

    def cluster(self, value: object, where: str) -> Cluster:
        """Return the cluster in chief form, whole: with its ps and its evaluator."""
        if not isinstance(value, dict):
            self.problem(where, f"expected an object of task types, got {_kind(value)}")
            return {}
        given = {}
        for name, addresses in value.items():
            path = f"{where}.{name}"
            if name not in _TYPES:
                known = ", ".join(_TYPES)
                self.problem(
                    path, f"unknown task type{nearest(str(name), _TYPES)} (expected one of {known})"
                )
            else:
                given[name] = self._addresses(addresses, path)
        chief_form = self._chief_form(given, where)
        self._check_counts(chief_form, where)
        self._check_duplicates(chief_form, where)
        return {t: chief_form[t] for t in TaskType if chief_form.get(t)}

    def _addresses(self, value: object, path: str) -> tuple[str, ...]:
        if isinstance(value, dict):
            value = self._dense(value, path)
        if not isinstance(value, list):
            self.problem(path, f"expected a list of host:port, got {_kind(value)}")
            return ()
        if not value:
            self.change(f"{path} is left out", "TensorFlow fails on a task type without tasks")
        for index, address in enumerate(value):
            if not isinstance(address, str):
                self.problem(f"{path}[{index}]", f"expected host:port, got {_kind(address)}")
                continue
            try:
                Address.parse(address)
            except ValueError as error:
                self.problem(f"{path}[{index}]", str(error))
        return tuple(map(str, value))

    def _dense(self, value: dict[object, object], path: str) -> list[object]:
        """Return the list that an object of index → address stands for."""
        by_index: dict[int, object] = {}
        for key, address in value.items():
            text = str(key)
            if not _is_index(text):
                self.problem(f"{path}.{key}", "expected a task index (0, 1, …) as the key")
            elif int(text) in by_index:
                self.problem(f"{path}.{key}", f"the index {int(text)} stands twice")
            else:
                by_index[int(text)] = address
        last = max(by_index, default=-1)
        if len(by_index) <= last:
            missing = next(i for i in range(last) if i not in by_index)
            self.problem(
                path,
                f"expected every index from 0 to {last}, {missing} is missing: TensorFlow errors "
                "or hangs on a sparse cluster; list the address of every task",
            )
        elif by_index:
            self.change(f"{path} is a list now", "an object of index → address says the same")
        return [by_index[i] for i in sorted(by_index)]

    def _chief_form(
        self, given: dict[str, tuple[str, ...]], where: str
    ) -> dict[TaskType, tuple[str, ...]]:
        master, chief = given.pop(_MASTER, ()), given.get(TaskType.CHIEF, ())
        self._has_master = bool(master)
        if master and chief and master != chief:
            self.problem(
                where,
                f"both master ({', '.join(master)}) and chief ({', '.join(chief)}) are given and "
                "differ; expected one of them",
            )
        elif master and chief:
            self.change(f"{where}.master is dropped", "chief names the same address")
        elif master:
            self.change(f"{where}.master is now chief", "TensorFlow 2 refuses the master role")
            given[TaskType.CHIEF] = master
        return {TaskType(name): addresses for name, addresses in given.items()}

    def _check_counts(self, cluster: Cluster, where: str) -> None:
        for task_type in (TaskType.CHIEF, TaskType.EVALUATOR):
            count = len(cluster.get(task_type, ()))
            if count > 1:
                self.problem(f"{where}.{task_type.value}", f"expected at most one, got {count}")

    def _check_duplicates(self, cluster: Cluster, where: str) -> None:
        owner: dict[str, str] = {}
        for task_type, addresses in cluster.items():
            for index, address in enumerate(addresses):
                path = f"{where}.{task_type.value}[{index}]"
                first = owner.setdefault(address, path)
                if first is not path:
                    self.problem(path, f"{address} is the address of {first} already")

    # task

    def _task(self, value: object) -> tuple[TaskId | None, Mapping[str, object]]:
        if value is _ABSENT:
            return None, {}
        if not isinstance(value, dict):
            self.problem("task", f"expected an object, got {_kind(value)}")
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
        if not isinstance(value, str) or value not in _TYPES:
            got = "nothing" if value is None else repr(value)
            hint = nearest(value, _TYPES) if isinstance(value, str) else ""
            self.problem("task.type", f"expected one of {', '.join(_TYPES)}, got {got}{hint}")
            return None
        if value == _MASTER:
            self.change("task.type master is now chief", "TensorFlow 2 refuses the master role")
            return TaskType.CHIEF
        return TaskType(value)

    def _index(self, value: object) -> int | None:
        if isinstance(value, str) and _is_index(value):
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
        visible = _visible(cluster, task, strategy)
        if task and task.type is TaskType.EVALUATOR:
            if visible != cluster:
                self.change("the cluster is cut to the evaluator", "it is part of no strategy")
            return visible
        if TaskType.EVALUATOR in cluster:
            self.change("cluster.evaluator is left out", "only the evaluator itself may see it")
        if TaskType.PS in cluster and TaskType.PS not in visible:
            self.change(
                "cluster.ps is left out",
                "multi_worker_mirrored has no parameter servers and hangs when one is listed",
            )
        if task and rules.role(strategy, task.type) is Role.NOT_NEEDED:
            self.note(f"{task} is not needed", "multi_worker_mirrored has no parameter servers")
        return visible


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # int() refuses thousands of digits


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


__all__ = ["CHIEF", "Cluster", "Finding", "TfConfig", "read_cluster"]
