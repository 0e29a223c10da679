"""TF_CONFIG: read in every form met in the field, normalised to chief form, rendered per task.

This is the only package that knows the format. What TensorFlow 2.21 does with each form was
established by running it: `master` is refused, a `ps` listed under MultiWorkerMirroredStrategy
hangs in silence, an empty `ps` list crashes, an evaluator that others can see hangs
ParameterServerStrategy. Importing it needs neither TensorFlow nor Docker.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from launcher import strategy as rules
from launcher.errors import Problem
from launcher.strategy import Role, Strategy
from launcher.task import TaskId
from launcher.tf_config.clusters import Cluster, ClusterReader, Finding, IsHere, tasks_of
from launcher.tf_config.reading import Reader, visible

__all__ = ["Cluster", "Finding", "IsHere", "TfConfig", "read_cluster"]


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
        return cls(*Reader(strategy, is_here).read(text))

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
        return cls(visible(cluster, task, strategy), task, strategy)

    @property
    def role(self) -> Role | None:
        """What this task does, or None without a task."""
        return rules.role(self.strategy, self.task.type) if self.task else None

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """Every task of the cluster that this task can see."""
        return tuple(tasks_of(self.cluster))

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
    reader = ClusterReader()
    cluster = reader.cluster(value, where)
    return cluster, tuple(reader.findings), reader.problems
