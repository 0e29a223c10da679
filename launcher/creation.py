"""A planned task as the Docker Engine is asked to create it: the request, and its labels.

Labels are what any machine finds a run by; they hold no env values, secrets or local paths. Their
schema stays the same as long as labels are only added.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launcher import orphans, plan_label
from launcher.container import Container, Mount
from launcher.layout import (
    CHECKPOINT_DIR,
    CHECKPOINT_DIRS,
    CONTAINER_OUTPUT_DIR,
    checkpoint_mount,
    volume_name,
)
from launcher.plan import HOST_NETWORK, Plan
from launcher.task import TaskId, TaskType

SCHEMA = "1"
SCHEMA_LABEL = "launch.schema"
RUN_LABEL = "launch.run"
TASK_LABEL = "launch.task"
ATTEMPT_LABEL = "launch.attempt"
PORT_LABEL = "launch.port"
GPUS_LABEL = "launch.gpus"
OUTPUT_LABEL = "launch.output"
JOB_LABEL = "launch.job"
ROLE_LABEL = "launch.role"
STRATEGY_LABEL = "launch.strategy"  #: of a run with a cluster
PLAN_LABEL = "launch.plan"
CHECKPOINTS_LABEL = "launch.checkpoints"  #: of what a run's checkpoints are read and written by
TASKS_LABEL = "launch.tasks"  #: how many of each type the run has: `chief=1,worker=3`

_TYPES = frozenset(task_type.value for task_type in TaskType)
_MOST_DIGITS = 7  # of a count; a label may hold anything
# A daemon may rotate logs by default, and what it rotated away could not be brought home.
_UNROTATED = {"max-size": "1000000g", "max-file": "1", "compress": "false"}


def container_name(run_id: str, task: TaskId, attempt: int) -> str:
    """Return the name of one attempt's container."""
    return f"launch-{run_id}-{task.slug}-{attempt}"


def run_labels(run_id: str) -> dict[str, str]:
    """Return the labels of everything that a run makes on an engine."""
    return {SCHEMA_LABEL: SCHEMA, RUN_LABEL: run_id}


def request(
    plan: Plan,
    container: Container,
    attempt: int,
    image_id: str,
    volumes: Mapping[str, str],
    watched: bool = False,
) -> dict[str, object]:
    """Return the body of the Engine API's ContainerCreate for one attempt.

    volumes: for each synced mount's source, the volume on that host that holds its content.
    watched: whether a shell beside the task may end it; see `orphans`.
    The image's entrypoint is not run: the plan's argv is all that is.
    """
    argv = container.argv
    if watched:
        argv = orphans.watched(argv, plan.timeouts, orphans.CONTAINER_LEASE, group=False)
    program, *args = argv
    return {
        "Image": image_id,
        "Entrypoint": [program],
        "Cmd": args,
        "Env": [f"{key}={value}" for key, value in plan.env(container).items()],
        "WorkingDir": container.work_dir,
        "Labels": _labels(plan, container, attempt),
        "HostConfig": _host_config(plan, container, volumes),
        **_names(plan, container),
    }


def _names(plan: Plan, container: Container) -> dict[str, object]:
    """Return the task's name on the run's own network; with host networking it has the host's."""
    if plan.network == HOST_NETWORK:
        return {}
    slug = container.task.slug
    endpoint = {plan.network: {"Aliases": [slug]}}
    return {"Hostname": slug, "NetworkingConfig": {"EndpointsConfig": endpoint}}


def _labels(plan: Plan, container: Container, attempt: int) -> dict[str, str]:
    labels = {
        **run_labels(plan.run_id),
        TASK_LABEL: str(container.task),
        ATTEMPT_LABEL: str(attempt),
        OUTPUT_LABEL: CONTAINER_OUTPUT_DIR,
        JOB_LABEL: plan.job.name,
        ROLE_LABEL: plan.role(container.task).value,
        TASKS_LABEL: _counts(plan),
    }
    labels[PLAN_LABEL] = plan_label.written(plan)
    if plan.cluster:
        labels[STRATEGY_LABEL] = plan.strategy.value
    if plan.network == HOST_NETWORK:
        labels[PORT_LABEL] = str(container.address.port)
    if container.gpus:
        labels[GPUS_LABEL] = ",".join(container.gpus)
    return labels


def _counts(plan: Plan) -> str:
    counts = Counter(container.task.type for container in plan.tasks)
    return ",".join(f"{task_type}={count}" for task_type, count in counts.items())


def counted(text: str) -> tuple[TaskId, ...]:
    """Return the tasks that a TASKS_LABEL speaks of; none for what is none."""
    tasks: list[TaskId] = []
    for part in text.split(","):
        name, _, count = part.partition("=")
        if name in _TYPES and count.isdecimal() and len(count) < _MOST_DIGITS:
            tasks += (TaskId(TaskType(name), index) for index in range(int(count)))
    return tuple(tasks)


def _host_config(plan: Plan, container: Container, volumes: Mapping[str, str]) -> dict[str, object]:
    limits = container.limits
    config: dict[str, object] = {
        "NetworkMode": plan.network,
        "Init": True,  # as PID 1 a trainer would ignore SIGTERM
        "LogConfig": {"Type": "json-file", "Config": _UNROTATED},
        "Mounts": [_mount(plan, mount, volumes) for mount in container.mounts],
    }
    if limits.shm_bytes:
        config["ShmSize"] = limits.shm_bytes
    if limits.memory_bytes:
        config["Memory"] = config["MemorySwap"] = limits.memory_bytes
    if limits.cpus:
        config["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.ulimits:
        config["Ulimits"] = list(_ulimits(limits.ulimits))
    if container.gpus:
        gpus = {"DeviceIDs": list(container.gpus), "Capabilities": [["gpu"]]}
        config["DeviceRequests"] = [gpus]
    return config


def _ulimits(ulimits: Mapping[str, tuple[int, int]]) -> Iterator[dict[str, object]]:
    for name, (soft, hard) in ulimits.items():
        yield {"Name": name, "Soft": soft, "Hard": hard}


def _mount(plan: Plan, mount: Mount, volumes: Mapping[str, str]) -> dict[str, object]:
    source = volumes[mount.source] if mount.synced else mount.source
    described = {"Source": source, "Target": mount.target, "ReadOnly": mount.read_only}
    if source.startswith("/"):
        return {"Type": "bind", **described}
    labels = {} if mount.synced else run_labels(plan.run_id)
    return {"Type": "volume", **described, "VolumeOptions": {"Labels": labels}}


def request_again(
    described: Mapping[str, Any], of: TaskId, plan: Plan, container: Container, attempt: int
) -> dict[str, object]:
    """Return the body of ContainerCreate for another attempt: all that an earlier one was made of.

    What follows from the task's place is the plan's.

    described: what the engine says of the earlier container (ContainerInspect).
    of: whose that was; a task's that is alike, where none of its own is left.
    """
    config = described["Config"]
    kept = ("Entrypoint", "Cmd", "WorkingDir", "User")
    return {
        **{key: config[key] for key in kept if config.get(key)},
        "Image": described["Image"],  # by id: a name may mean another image by now
        "Env": list(_env_again(config.get("Env") or (), plan, container)),
        "Labels": {**config["Labels"], **_labels(plan, container, attempt)},
        "HostConfig": _host_config_again(described["HostConfig"], of, plan, container),
        **_names(plan, container),
    }


def _env_again(earlier: Iterable[str], plan: Plan, container: Container) -> Iterator[str]:
    config = plan.tf_config(container.task)
    if see := plan.see_checkpoints:
        shared, apart = (f"{CHECKPOINT_DIR}={path}" for path in CHECKPOINT_DIRS)
        own = shared if container.task in see else apart
        earlier = (own if entry in (shared, apart) else entry for entry in earlier)
    yield from (entry for entry in earlier if not config or not entry.startswith("TF_CONFIG="))
    if config:
        yield f"TF_CONFIG={config.to_json()}"


def _host_config_again(
    earlier: Mapping[str, Any], of: TaskId, plan: Plan, container: Container
) -> dict[str, object]:
    """Return how an earlier container was made, with the GPUs and the volumes of this task."""
    asked = [dict(each) for each in earlier.get("DeviceRequests") or ()]
    for each in asked:
        each["DeviceIDs"] = list(container.gpus)
    old, new = (volume_name(plan.run_id, f"{t.slug}-output") for t in (of, container.task))
    mounts = [
        {**mount, "Source": new} if mount.get("Source") == old else mount
        for mount in earlier.get("Mounts") or ()
    ]
    if see := plan.see_checkpoints:
        own = _mount(plan, checkpoint_mount(plan.run_id), {})
        mounts = [mount for mount in mounts if mount.get("Source") != own["Source"]]
        mounts += [own] if container.task in see else []
    return {**earlier, "DeviceRequests": asked or None, "Mounts": mounts}
