"""What the parts of a cluster.yaml say of each other: names, counts, ports, GPUs, addresses."""

from collections.abc import Iterator

from launcher.address import Address, host_problem, is_loopback, is_public, is_wildcard
from launcher.cluster import Backend, ClusterSpec, Data, Form, Volume
from launcher.cluster_file import ClusterFile
from launcher.decode import Decoder
from launcher.names import RULE, is_name
from launcher.strategy import Strategy
from launcher.task import TaskId, TaskType

_FOR_CONTAINERS = (
    *("volumes", "code", "image_transfer", "secrets", "shm_size", "memory", "cpus", "ulimits"),
)
_OURS = ("/", "/data", "/data/output", "/data/checkpoints", "/run/secrets")


def check(spec: ClusterSpec, file: ClusterFile, decoder: Decoder, *, elsewhere: bool) -> None:
    """Note every problem that only the parts together show.

    Nothing is said of what follows from a value that did not decode.

    elsewhere: whether the tasks will run on other machines than the file's hosts.
    """
    _roles(spec, decoder)
    if not elsewhere:
        _ports(spec, decoder)
        _gpus(spec, decoder)
        _hosts(spec, decoder, allow_public=file.allow_public)
        _backend(spec, decoder)
    _environments(file, decoder)
    _mounts(file, decoder)
    _sources(file, decoder)
    _ulimits(file, decoder)
    if spec.restarts.move and not spec.checkpoints and not spec.is_here:
        what = "needs `checkpoints`, a folder that all hosts share: a task that moves goes on there"
        decoder.problem("restarts.move", what)


def notes(spec: ClusterSpec, decoder: Decoder, *, elsewhere: bool) -> Iterator[str]:
    """Yield what a user should know of a file that is right.

    elsewhere: as for `check`; what processes and hosts' disks lack here is not so there.
    """
    if elsewhere:
        return
    if spec.backend is Backend.PROCESS:
        given = [key for key in _FOR_CONTAINERS if key in decoder.lines]
        if given:
            yield f"{', '.join(given)}: for containers only; processes see this machine as it is"
    elif not spec.checkpoints and not spec.is_here and _has(spec, TaskType.EVALUATOR):
        yield (
            "the evaluator will not see the chief's checkpoints, each task has a disk of its own: "
            "name a folder that all hosts share with the key 'checkpoints'"
        )


def _roles(spec: ClusterSpec, decoder: Decoder) -> None:
    at = "cluster" if "cluster" in decoder.lines else "tasks"
    if not spec.tasks:
        return
    if spec.strategy is Strategy.PARAMETER_SERVER:
        for task_type in (TaskType.CHIEF, TaskType.WORKER, TaskType.PS):
            if not _has(spec, task_type):
                what = f"parameter_server needs a {task_type}, none is given"
                decoder.problem(at, what)
    elif not _has(spec, TaskType.CHIEF) and not _has(spec, TaskType.WORKER):
        decoder.problem(at, "expected a chief or a worker: nobody would train")


def _ports(spec: ClusterSpec, decoder: Decoder) -> None:
    owner: dict[tuple[str, int], TaskId] = {}
    for task in spec.tasks:
        if task.port is None or task.host is None or spec.hosts[task.host].address is None:
            continue
        at = f"tasks.{task.id.type.value}.port"
        if task.port > 65535:
            decoder.problem(at, f"{task.id} would get port {task.port}; expected at most 65535")
        first = owner.setdefault((spec.hosts[task.host].address, task.port), task.id)
        if first != task.id:
            address = Address(spec.hosts[task.host].address, task.port)
            decoder.problem(at, f"{task.id} would have {address}, the address of {first}")


def _gpus(spec: ClusterSpec, decoder: Decoder) -> None:
    wanted: dict[str, int] = {}
    for task in spec.tasks:
        if task.host is not None:
            wanted[task.host] = wanted.get(task.host, 0) + task.gpus
    unreadable = {n for n in spec.hosts if {f"hosts.{n}", f"hosts.{n}.gpus"} & decoder.wrong}
    for name, count in wanted.items():
        ids = None if name in unreadable else spec.hosts[name].gpu_ids
        if ids is not None and count > len(ids):
            what = f"its tasks want {count} GPUs, it has {len(ids)}"
            decoder.problem(f"hosts.{name}.gpus", what)
        if ids is not None and len(set(ids)) < len(ids):
            decoder.problem(f"hosts.{name}.gpus", "one GPU is listed twice")
    spread = sum(task.gpus for task in spec.tasks if task.host is None)
    capacity = [None if h.gpu_ids is None else len(h.gpu_ids) for h in spec.hosts.values()]
    if spread and None not in capacity and not unreadable:
        free = sum(count or 0 for count in capacity) - sum(wanted.values())
        if spread > free >= 0:
            decoder.problem("tasks", f"{spread} GPUs are wanted on any host, {free} are free")


def _hosts(spec: ClusterSpec, decoder: Decoder, *, allow_public: bool) -> None:
    several = len({task.host for task in spec.tasks}) > 1 or (
        len(spec.hosts) > 1 and any(task.host is None for task in spec.tasks)
    )
    owner: dict[str, str] = {}
    for name, host in spec.hosts.items():
        key_path = f"hosts.{name}.address" if f"hosts.{name}" in decoder.lines else "cluster"
        if not is_name(name):
            decoder.problem(f"hosts.{name}", f"expected {RULE} as the host's name")
        if host.address is None:
            continue
        first = owner.setdefault(host.address, name)
        if first != name:
            decoder.problem(key_path, f"{host.address} is the address of {first} already")
        problem = host_problem(host.address)
        if problem:
            decoder.problem(key_path, problem)
        elif is_wildcard(host.address):
            decoder.problem(key_path, f"nobody can connect to {host.address}; expected its own")
        elif several and is_loopback(host.address):
            decoder.problem(
                key_path,
                f"{host.address} means another machine to every host; expected the address "
                "at which the other hosts reach it",
            )
        elif not (allow_public or is_loopback(host.address)) and is_public(host.address):
            decoder.problem(
                key_path,
                f"{host.address} is reachable from the internet, and TensorFlow's servers obey "
                "anyone; expected a private address, or allow_public: true",
            )


def _backend(spec: ClusterSpec, decoder: Decoder) -> None:
    if {"backend", "image"} & decoder.wrong:
        return
    if spec.backend is Backend.DOCKER and not spec.image:
        decoder.problem("backend", "docker needs the key 'image'")
    if spec.backend is Backend.DOCKER:
        return
    if spec.image:
        decoder.problem("image", "the process backend uses no image; expected backend: docker")
    for name, host in spec.hosts.items():
        if host.address is not None and not host.is_here:
            where = f"hosts.{name}" if f"hosts.{name}" in decoder.lines else "cluster"
            decoder.problem(
                where,
                f"processes run on this machine alone, {host.address} is another; expected a "
                "loopback address, or an image for the docker backend",
            )


def _environments(file: ClusterFile, decoder: Decoder) -> None:
    owners = [("env", file.env)]
    owners += [(f"tasks.{t}.env", g.env) for t, g in (file.tasks or {}).items() if g]
    for key_path, env in owners:
        for key in env:
            if not key.isprintable() or not key or {" ", "="} & set(key):
                decoder.problem(key_path, f"expected {Form.ENV_NAME}, got {key!r}")
            elif key == "TF_CONFIG" or key.startswith("LAUNCH_"):
                decoder.problem(f"{key_path}.{key}", "the launcher itself sets this variable")


def _mounts(file: ClusterFile, decoder: Decoder) -> None:
    mounts: dict[str, str] = {}
    for key_path, mount in _mounted(file):
        if mount.at and mounts.setdefault(mount.at, key_path) != key_path:
            first = mounts[mount.at]
            decoder.problem(key_path, f"{first} is mounted at {mount.at} already")

        if mount.at and (mount.at.rstrip("/") or "/") in _OURS:
            decoder.problem(f"{key_path}.at", f"the launcher itself fills {mount.at}")


def _sources(file: ClusterFile, decoder: Decoder) -> None:
    """Check that what may come from two places comes from one."""
    if file.data:
        _one_of(decoder, "data", path=file.data.path, sync=file.data.sync)
    for name, secret in file.secrets.items():
        if not is_name(name):
            decoder.problem(f"secrets.{name}", f"expected {RULE} as the secret's name")
        if secret:
            _one_of(decoder, f"secrets.{name}", file=secret.file, env=secret.env)


def _one_of(decoder: Decoder, key_path: str, **values: str | None) -> None:
    if any(path == key_path or path.startswith(f"{key_path}.") for path in decoder.wrong):
        return
    given = [key for key, value in values.items() if value]
    if len(given) != 1:
        got = " and ".join(given) or "neither"
        decoder.problem(key_path, f"expected one of {', '.join(values)}, got {got}")


def _ulimits(file: ClusterFile, decoder: Decoder) -> None:
    for name, text in file.ulimits.items():
        parts = text.split(":") if text is not None else []
        if (parts and not all(_is_limit(part) for part in parts[:2])) or len(parts) > 2:
            what = f"expected NUMBER or SOFT:HARD (-1 for no limit), got {text!r}"
            decoder.problem(f"ulimits.{name}", what)


def _is_limit(text: str) -> bool:
    return text == "-1" or (text.isascii() and text.isdigit())


def _mounted(file: ClusterFile) -> Iterator[tuple[str, Data | Volume]]:
    if file.data:
        yield "data", file.data
    for index, volume in enumerate(file.volumes):
        yield f"volumes[{index}]", volume


def _has(spec: ClusterSpec, task_type: TaskType) -> bool:
    return any(task.id.type is task_type for task in spec.tasks)
