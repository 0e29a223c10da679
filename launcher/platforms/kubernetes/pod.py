"""The pod of one task type: its one container, and what the pod asks of its node."""

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from launcher import strategy as rules
from launcher.cluster import Backend, ClusterSpec, Task
from launcher.layout import CONTAINER_OUTPUT_DIR, Job, Layout
from launcher.platforms.kubernetes.names import job_name, literal
from launcher.platforms.kubernetes.settings import MOST, Settings
from launcher.platforms.kubernetes.storage import TASK_NAME, Storage, secret_key
from launcher.size import size_bytes
from launcher.strategy import Role, Strategy
from launcher.task import TaskType

PORT = 2222
TASK_INDEX = "LAUNCH_TASK_INDEX"
RUN, TASK, DECIDES = "launch/run", "launch/task", "launch/decides"  # labels
RUN_ID = "launch/run-id"  # an annotation
CONTAINER = "tensorflow"  # the name by which Kubeflow's operator knows it
_NOT_HERE = ("LAUNCH_MARKERS", "LAUNCH_HOST_TASKS")  # nobody reads markers; a task a pod


class Run(NamedTuple):
    """A run on its way into manifests.

    tasks: those of each type.
    """

    spec: ClusterSpec
    settings: Settings
    job: Job
    run_id: str
    storage: Storage
    tasks: Mapping[TaskType, tuple[Task, ...]]

    @property
    def name(self) -> str:
        """The name of the run's objects."""
        return job_name(self.run_id)

    @property
    def ends_together(self) -> bool:
        """Whether tasks must be told that the run is over: foreign code of theirs never is."""
        never_end = self.spec.strategy is Strategy.PARAMETER_SERVER
        never_end = never_end or TaskType.EVALUATOR in self.tasks
        return never_end and not self.job.platform_args and self.settings.exec

    def metadata(self, name: str = "", **labels: str) -> dict[str, Any]:
        """Return the metadata of an object of the run."""
        given = {"app.kubernetes.io/managed-by": "launch", RUN: self.name, **labels}
        namespace = {"namespace": self.settings.namespace} if self.settings.namespace else {}
        return {
            "name": name or self.name,
            **namespace,
            "labels": {**self.settings.labels, **given},
            "annotations": {RUN_ID: self.run_id},
        }


def template(
    run: Run, task_type: TaskType, *, index: str, chief: str, exec_first: bool, **pod: Any
) -> dict[str, Any]:
    """Return the template of a type's pods.

    index: the field of the pod that holds the task's index.
    chief: the address of the chief.
    exec_first: whether `launch exec` is to stand before the command anyhow.
    pod: more of the pod's spec.
    """
    task = run.tasks[task_type][0]
    settings = run.settings
    labels = {**settings.labels, RUN: run.name, TASK: task_type.value}
    metadata: dict[str, Any] = {"labels": labels}
    if settings.annotations:
        metadata["annotations"] = dict(settings.annotations)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": run.spec.image,
        "command": _command(run, task, exec_first=exec_first),
        "workingDir": "/data",
        "env": _env(run, task, index, chief),
        "resources": _resources(run, task),
        "ports": [{"name": "tfjob-port", "containerPort": PORT}],
        "volumeMounts": [dict(mount) for mount in run.storage.mounts],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {**pod, "containers": [container], "volumes": [dict(v) for v in run.storage.volumes]}
    return {"metadata": metadata, "spec": {**spec, **_placement(run)}}


def whole(seconds: float) -> int:
    """Return a time as Kubernetes takes one: seconds, at least one."""
    return max(1, min(ceil(seconds), MOST))


def _command(run: Run, task: Task, *, exec_first: bool) -> list[str]:
    job = run.job
    layout = Layout.of(run.spec._replace(backend=Backend.DOCKER), job, run.run_id, "/", "python")
    words = [*layout.command]
    if job.platform_args:
        words += layout.platform_args(CONTAINER_OUTPUT_DIR, task.gpus)
    args = (*task.args, *job.args)
    if not job.script:  # what was given is the whole command: its program stays the first word
        args = (*job.args, *task.args)
    words += args
    before = ["launch", "exec"] if run.ends_together or exec_first else []
    together = ["--end-together"] if run.ends_together else []
    return [*before, *together, *(["--"] if before else []), *map(literal, words)]


def _env(run: Run, task: Task, index: str, chief: str) -> list[dict[str, Any]]:
    """Return the variables, those first that others stand on."""
    spec, settings = run.spec, run.settings
    docker = spec._replace(backend=Backend.DOCKER)
    layout = Layout.of(docker, run.job, run.run_id, "/", "python")
    layout = layout._replace(checkpoint_dir=run.storage.checkpoint_dir)
    interface = {"NCCL_SOCKET_IFNAME": spec.nccl_interface} if spec.nccl_interface else {}
    values = {"HOME": "/tmp", **interface, **layout.env(docker, run.run_id), **task.env}  # noqa: S108
    if not task.gpus:
        values |= {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    if run.ends_together:
        others = sum(
            rules.role(spec.strategy, each.id.type) in (Role.SERVE, Role.EVALUATE)
            for each in spec.tasks
        )
        values |= {"LAUNCH_CHIEF": chief, "LAUNCH_OTHERS": str(others)}
        values |= {"LAUNCH_CHIEF_GONE_S": f"{spec.timeouts.start_s:g}"}
    env: list[dict[str, Any]] = [
        {"name": TASK_INDEX, "valueFrom": {"fieldRef": {"fieldPath": index}}},
        {"name": TASK_NAME, "value": f"{task.id.type.value}-$({TASK_INDEX})"},
    ]
    for name, text in settings.env_secrets.items():
        env.append({"name": name, "valueFrom": {"secretKeyRef": secret_key(text)}})
    return env + [
        {"name": name, "value": literal(value)}
        for name, value in values.items()
        if name not in (*_NOT_HERE, *settings.env_secrets)
    ]


def _resources(run: Run, task: Task) -> dict[str, Any]:
    memory, cpus = task.memory or run.spec.memory, task.cpus or run.spec.cpus
    limits: dict[str, str] = {}
    if cpus:
        limits["cpu"] = f"{ceil(cpus * 1000)}m"
    if memory:
        limits["memory"] = str(size_bytes(memory))
    if task.gpus:
        limits[run.settings.gpu] = str(task.gpus)
    return {"requests": dict(limits), "limits": limits} if limits else {}


def _placement(run: Run) -> dict[str, Any]:
    """Return what a pod asks of its node and of the cluster, apart from its container."""
    spec, settings = run.spec, run.settings
    user: dict[str, Any] = {"runAsUser": settings.user, "runAsGroup": settings.group}
    if settings.user:
        user["runAsNonRoot"] = True
    chosen = {
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": None if settings.service_account else False,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [
            {key: value for key, value in each._asdict().items() if value}
            for each in settings.tolerations
        ],
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
    }
    return {
        "terminationGracePeriodSeconds": whole(spec.timeouts.grace_s),
        # As PID 1 a trainer would ignore SIGTERM, and nobody would reap its children.
        "shareProcessNamespace": True,
        "enableServiceLinks": False,
        "securityContext": {
            **user, "fsGroup": settings.group, "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{key: value for key, value in chosen.items() if value not in (None, "", [], {})},
    }  # fmt: skip
