"""The `cluster` of a TF_CONFIG in whatever form, read into chief form."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from launcher.address import Address
from launcher.errors import Problem, nearest
from launcher.task import TaskId, TaskType

Cluster = Mapping[TaskType, tuple[str, ...]]
IsHere = Callable[[str], bool]  #: a host of an address → whether it is this machine
MASTER = "master"
TYPES = (*(t.value for t in TaskType), MASTER)


class Finding(NamedTuple):
    """One thing said about a TF_CONFIG: `change` (it was rewritten) or `note` (it was not)."""

    kind: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: {self.why}"


def tasks_of(cluster: Cluster) -> Iterator[TaskId]:
    """Yield every task of a cluster."""
    for task_type in TaskType:
        for index in range(len(cluster.get(task_type, ()))):
            yield TaskId(task_type, index)


class ClusterReader:
    """Reads clusters, collecting what it changed and what is wrong."""

    def __init__(self) -> None:
        self.has_master = False
        self.findings: list[Finding] = []
        self.problems: list[Problem] = []

    def change(self, what: str, why: str) -> None:
        self.findings.append(Finding("change", what, why))

    def note(self, what: str, why: str) -> None:
        self.findings.append(Finding("note", what, why))

    def problem(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def cluster(self, value: object, where: str) -> Cluster:
        """Return the cluster in chief form, whole: with its ps and its evaluator."""
        if not isinstance(value, dict):
            self.problem(where, f"expected an object of task types, got {kind_of(value)}")
            return {}
        given = {}
        for name, addresses in value.items():
            path = f"{where}.{name}"
            if name not in TYPES:
                known = ", ".join(TYPES)
                self.problem(
                    path, f"unknown task type{nearest(str(name), TYPES)} (expected one of {known})"
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
            self.problem(path, f"expected a list of host:port, got {kind_of(value)}")
            return ()
        if not value:
            self.change(f"{path} is left out", "TensorFlow fails on a task type without tasks")
        for index, address in enumerate(value):
            if not isinstance(address, str):
                self.problem(f"{path}[{index}]", f"expected host:port, got {kind_of(address)}")
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
            if not is_index(text):
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
        master, chief = given.pop(MASTER, ()), given.get(TaskType.CHIEF, ())
        self.has_master = bool(master)
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


def is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10  # int() refuses thousands of digits


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
