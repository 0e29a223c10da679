"""cluster.yaml into a ClusterSpec. The only reader of the file, in both its forms.

Every problem that the file alone can show is found in one reading, each with file:line and key
path. What only a host knows (whether it answers, its free ports, its GPUs under `auto`) is not
asked here.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import yaml

from launcher import strategy as rules
from launcher import tf_config
from launcher.address import Address, host_problem, is_loopback, is_public, is_wildcard
from launcher.cluster import (
    AbsolutePath,
    Backend,
    ClusterSpec,
    Data,
    Env,
    Form,
    Gpus,
    Host,
    Port,
    Range,
    Restarts,
    Source,
    Task,
    Timeouts,
    Volume,
)
from launcher.decode import Decoder, compose, show
from launcher.errors import InputError, Problem, nearest
from launcher.names import RULE, as_name, is_name
from launcher.strategy import Strategy
from launcher.task import TaskId, TaskType

THIS_MACHINE = "localhost"
TaskCount = Annotated[int, Range(1, 100_000)]
OldForm = Mapping[str, Any]  # a cluster as in a TF_CONFIG, which `launcher.tf_config` reads


class TaskGroup(NamedTuple):
    """The tasks of one type.

    count: How many; default: as many as `hosts` names, else 1.
    host: The one host on which all stand.
    hosts: Hosts to take in turn. Without host and hosts: the host with most free GPUs first.
    port: The port of the first one on each host; the next on that host takes the next port.
        Without it: free ports.
    gpus: How many GPUs each one gets.
    env: Environment variables for these tasks alone.
    args: Arguments for these tasks alone, before those of the command line; behind a plain
        command.
    """

    count: TaskCount | None = None  # type: ignore[assignment]  # hides tuple.count
    host: str | None = None
    hosts: tuple[str, ...] | None = None
    port: Port | None = None
    gpus: Gpus = 0
    env: Env = {}
    args: tuple[Annotated[str, Form.SCALAR], ...] = ()


class ClusterFile(NamedTuple):
    """cluster.yaml: which tasks run where, and how.

    name: Begins the name of each run. Default: the trainer's name.
    backend: What starts the tasks; default: docker when `image` is set, else process.
    image: The Docker image of every task.
    strategy: How to train; `auto` is parameter_server when there are ps tasks.
    hosts: The machines by name. Without it: this machine alone.
    tasks: The tasks by type.
    cluster: The old form, as in a TF_CONFIG: task type (master too) to a list of host:port.
        `tasks` beside it may give only gpus, env and args.
    data: The training data.
    volumes: More folders of the hosts for containers to see.
    checkpoints: A folder that all hosts share, for the checkpoints of runs.
    env: Environment variables of every task.
    restarts: How often what fails is started again.
    timeouts: How long a run waits for what, in seconds.
    python: The Python that runs trainers; default: the launcher's own for processes, `python`
        in containers.
    code: The folder to copy into containers with the trainer; default: the trainer's file alone.
    allow_public: Accept addresses that the whole internet can reach. TensorFlow's servers take
        commands from anyone who reaches them.
    """

    name: Annotated[str, Form.NAME] | None = None
    backend: Backend | None = None
    image: str | None = None
    strategy: Strategy = Strategy.AUTO
    hosts: Mapping[str, Host] | None = None
    tasks: Mapping[TaskType, TaskGroup | None] | None = None
    cluster: OldForm | None = None
    data: Data | None = None
    volumes: tuple[Volume, ...] = ()
    checkpoints: AbsolutePath | None = None
    env: Env = {}
    restarts: Restarts = Restarts()
    timeouts: Timeouts = Timeouts()
    python: str | None = None
    code: str | None = None
    allow_public: bool = False


def read(path: str, *, strategy: Strategy = Strategy.AUTO) -> ClusterSpec:
    """Return the cluster that the file at `path` describes.

    strategy: the command line's choice; AUTO leaves it to the file.

    Raises:
        InputError: with every problem of the file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a cluster.yaml") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text, byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path, strategy=strategy)


def parse(
    text: str, path: str = "cluster.yaml", *, strategy: Strategy = Strategy.AUTO
) -> ClusterSpec:
    """Return the cluster that a cluster.yaml's text describes; `path` is for messages.

    Raises:
        InputError: with every problem of the text.
    """
    reader = _Reader(path)
    document = compose(text, path, reader.problems)
    spec = document and reader.spec(document.root, strategy)
    if reader.problems or spec is None:
        raise InputError(sorted(reader.problems, key=lambda found: _line(found, path)))
    return spec


def _line(problem: Problem, path: str) -> int:
    line = problem.where.removeprefix(f"{path}:").partition(" ")[0].partition(":")[0]
    return int(line) if line.isdigit() else 0


class _Reader(Decoder):
    """Decodes one file, then checks what its parts say of each other."""

    notes: tuple[str, ...] = ()

    def spec(self, root: yaml.Node | None, strategy: Strategy) -> ClusterSpec | None:
        if root is None:
            self.problem("", "the file is empty; expected tasks or cluster")
            return None
        if not isinstance(root, yaml.MappingNode):
            self.problem("", f"expected a mapping of keys, got {show(root)}", root)
            return None
        file = self.decode(root, ClusterFile)
        if file is None:
            return None
        if strategy is not Strategy.AUTO:
            file = file._replace(strategy=strategy)
        return self._checked_spec(file)

    def _checked_spec(self, file: ClusterFile) -> ClusterSpec:
        hosts = dict(file.hosts) if file.hosts else {}
        if file.cluster is not None:
            tasks = tuple(self._old_form(file, hosts))
        else:
            hosts = hosts or {THIS_MACHINE: Host("127.0.0.1")}
            tasks = tuple(self._new_form(file, hosts))
        strategy = rules.resolve(file.strategy, has_ps=_has(tasks, TaskType.PS))
        tasks = self._without_idle_ps(tasks, strategy, old_form=file.cluster is not None)
        backend = file.backend or (Backend.DOCKER if file.image else Backend.PROCESS)
        self._check_roles(tasks, strategy)
        self._check_ports(tasks, hosts)
        self._check_gpus(tasks, hosts)
        self._check_hosts(tasks, hosts, allow_public=file.allow_public)
        self._check_backend(file, backend, hosts)
        self._check_settings(file, backend)
        return ClusterSpec(
            name=file.name or "",
            backend=backend,
            strategy=strategy,
            hosts=hosts,
            tasks=tasks,
            source=Source(self.path, self.lines),
            notes=self.notes,
            **{key: getattr(file, key) for key in _SAME},
        )

    # tasks

    def _new_form(self, file: ClusterFile, hosts: Mapping[str, Host]) -> Iterator[Task]:
        if not file.tasks:
            self.problem("", "nothing to run: expected tasks (or cluster, the old form)")
            return
        for task_type in TaskType:
            if task_type not in file.tasks:
                continue
            group = file.tasks[task_type] or TaskGroup()
            key_path = f"tasks.{task_type.value}"
            names = self._host_names(group, hosts, key_path)
            count = group.count or len(group.hosts or ()) or 1
            if task_type in (TaskType.CHIEF, TaskType.EVALUATOR) and count > 1:
                self.problem(
                    f"{key_path}.count", f"expected 1, a cluster has one {task_type}, got {count}"
                )
                count = 1
            taken: dict[str | None, int] = {}
            for index in range(count):
                host = names[index % len(names)]
                port = group.port + taken.get(host, 0) if group.port else None
                taken[host] = taken.get(host, 0) + 1
                yield Task(TaskId(task_type, index), host, port, group.gpus, group.env, group.args)

    def _host_names(
        self, group: TaskGroup, hosts: Mapping[str, Host], key_path: str
    ) -> tuple[str | None, ...]:
        if group.host is not None and group.hosts is not None:
            self.problem(f"{key_path}.hosts", "expected host or hosts, got both")
        key = "host" if group.host is not None else "hosts"
        names = (group.host,) if group.host is not None else group.hosts or ()
        if group.hosts == ():
            self.problem(f"{key_path}.hosts", "expected at least one host")
        for name in names:
            if name is not None and name not in hosts:
                self.problem(f"{key_path}.{key}", f"unknown host {name!r}{nearest(name, hosts)}")
        known = tuple(name for name in names if name in hosts)
        return known or (next(iter(hosts)) if len(hosts) == 1 else None,)

    def _old_form(self, file: ClusterFile, hosts: dict[str, Host]) -> Iterator[Task]:
        """Yield the tasks of `cluster:`, adding to `hosts` each address that it lacks."""
        cluster, findings, problems = tf_config.read_cluster(file.cluster, "cluster")
        for found in problems:
            self.problem(found.where, found.what)
        self.notes += tuple(f"{found.what}: {found.why}" for found in findings)
        if not problems and not cluster:
            self.problem("cluster", "expected at least one task")
        named = frozenset(hosts)
        by_address = {h.address: name for name, h in hosts.items() if h.address}
        for key, group in (file.tasks or {}).items():
            given = group or TaskGroup()
            if given != TaskGroup(gpus=given.gpus, env=given.env, args=given.args):
                self.problem(
                    f"tasks.{key}", "beside cluster only gpus, env and args may be given here"
                )
            elif not problems and key not in cluster:
                self.problem(f"tasks.{key}", f"cluster lists no {key}")
        if problems:
            return
        for task_type, addresses in cluster.items():
            group = (file.tasks or {}).get(task_type) or TaskGroup()
            for index, text in enumerate(addresses):
                address = Address.parse(text)
                name = by_address.get(address.host)
                if name is None and address.host in named:
                    name = address.host
                elif name is None:
                    name = as_name(address.host, "host")
                    while name in hosts:  # `::1` and `1::` make the same name
                        name += "-"
                    hosts[name] = Host(address.host)
                by_address[address.host] = name
                yield Task(
                    TaskId(task_type, index), name, address.port, group.gpus, group.env, group.args
                )

    def _without_idle_ps(
        self, tasks: tuple[Task, ...], strategy: Strategy, *, old_form: bool
    ) -> tuple[Task, ...]:
        if strategy is not Strategy.MULTI_WORKER_MIRRORED or not _has(tasks, TaskType.PS):
            return tasks
        if not old_form:
            self.problem("tasks.ps", "multi_worker_mirrored has no ps tasks; expected none")
        self.notes += ("the ps tasks are left out: multi_worker_mirrored has no use for them",)
        return tuple(task for task in tasks if task.id.type is not TaskType.PS)

    # what the parts say of each other

    def _check_roles(self, tasks: tuple[Task, ...], strategy: Strategy) -> None:
        at = "cluster" if "cluster" in self.lines else "tasks"
        if not tasks:
            return
        if strategy is Strategy.PARAMETER_SERVER:
            for task_type in (TaskType.CHIEF, TaskType.WORKER, TaskType.PS):
                if not _has(tasks, task_type):
                    what = f"parameter_server needs a {task_type}, none is given"
                    self.problem(at, what)
        elif not _has(tasks, TaskType.CHIEF) and not _has(tasks, TaskType.WORKER):
            self.problem(at, "expected a chief or a worker: nobody would train")

    def _check_ports(self, tasks: tuple[Task, ...], hosts: Mapping[str, Host]) -> None:
        owner: dict[tuple[str, int], TaskId] = {}
        for task in tasks:
            if task.port is None or task.host is None or hosts[task.host].address is None:
                continue
            at = f"tasks.{task.id.type.value}.port"
            if task.port > 65535:
                self.problem(at, f"{task.id} would get port {task.port}; expected at most 65535")
            first = owner.setdefault((hosts[task.host].address, task.port), task.id)
            if first != task.id:
                address = Address(hosts[task.host].address, task.port)
                self.problem(at, f"{task.id} would have {address}, the address of {first}")

    def _check_gpus(self, tasks: tuple[Task, ...], hosts: Mapping[str, Host]) -> None:
        wanted: dict[str, int] = {}
        for task in tasks:
            if task.host is not None:
                wanted[task.host] = wanted.get(task.host, 0) + task.gpus
        unreadable = {n for n in hosts if {f"hosts.{n}", f"hosts.{n}.gpus"} & self.wrong}
        for name, count in wanted.items():
            ids = None if name in unreadable else hosts[name].gpu_ids
            if ids is not None and count > len(ids):
                what = f"its tasks want {count} GPUs, it has {len(ids)}"
                self.problem(f"hosts.{name}.gpus", what)
            if ids is not None and len(set(ids)) < len(ids):
                self.problem(f"hosts.{name}.gpus", "one GPU is listed twice")
        spread = sum(task.gpus for task in tasks if task.host is None)
        capacity = [None if h.gpu_ids is None else len(h.gpu_ids) for h in hosts.values()]
        if spread and None not in capacity and not unreadable:
            free = sum(count or 0 for count in capacity) - sum(wanted.values())
            if spread > free >= 0:
                self.problem("tasks", f"{spread} GPUs are wanted on any host, {free} are free")

    def _check_hosts(
        self, tasks: tuple[Task, ...], hosts: Mapping[str, Host], *, allow_public: bool
    ) -> None:
        several = len({task.host for task in tasks}) > 1 or (
            len(hosts) > 1 and any(task.host is None for task in tasks)
        )
        owner: dict[str, str] = {}
        for name, host in hosts.items():
            key_path = f"hosts.{name}.address" if f"hosts.{name}" in self.lines else "cluster"
            if not is_name(name):
                self.problem(f"hosts.{name}", f"expected {RULE} as the host's name")
            if host.address is None:
                continue
            first = owner.setdefault(host.address, name)
            if first != name:
                self.problem(key_path, f"{host.address} is the address of {first} already")
            problem = host_problem(host.address)
            if problem:
                self.problem(key_path, problem)
            elif is_wildcard(host.address):
                self.problem(key_path, f"nobody can connect to {host.address}; expected its own")
            elif several and is_loopback(host.address):
                self.problem(
                    key_path,
                    f"{host.address} means another machine to every host; expected the address "
                    "at which the other hosts reach it",
                )
            elif not (allow_public or is_loopback(host.address)) and is_public(host.address):
                self.problem(
                    key_path,
                    f"{host.address} is reachable from the internet, and TensorFlow's servers obey "
                    "anyone; expected a private address, or allow_public: true",
                )

    def _check_backend(
        self, file: ClusterFile, backend: Backend, hosts: Mapping[str, Host]
    ) -> None:
        if {"backend", "image"} & self.wrong:
            return
        if backend is Backend.DOCKER and not file.image:
            self.problem("backend", "docker needs the key 'image'")
        if backend is Backend.DOCKER:
            return
        if file.image:
            self.problem("image", "the process backend uses no image; expected backend: docker")
        for name, host in hosts.items():
            if host.address is not None and not host.is_here:
                where = f"hosts.{name}" if f"hosts.{name}" in self.lines else "cluster"
                self.problem(
                    where,
                    f"processes run on this machine alone, {host.address} is another; expected a "
                    "loopback address, or an image for the docker backend",
                )

    def _check_settings(self, file: ClusterFile, backend: Backend) -> None:
        owners = [("env", file.env)]
        owners += [(f"tasks.{t}.env", g.env) for t, g in (file.tasks or {}).items() if g]
        for key_path, env in owners:
            for key in env:
                if not key or "=" in key or "\0" in key:
                    self.problem(key_path, f"expected {Form.ENV_NAME}, got {key!r}")
                elif key == "TF_CONFIG" or key.startswith("LAUNCH_"):
                    self.problem(f"{key_path}.{key}", "the launcher itself sets this variable")
        mounts: dict[str, str] = {}
        for key_path, mount in _mounts(file):
            if mount.at and mounts.setdefault(mount.at, key_path) != key_path:
                first = mounts[mount.at]
                self.problem(key_path, f"{first} is mounted at {mount.at} already")
        if backend is Backend.PROCESS and file.volumes:
            self.notes += ("volumes are for containers; processes see this machine's own files",)
        for key in ("restarts", "timeouts.start_s", "timeouts.stalled_s"):
            if key in self.lines:
                self.notes += (f"{key} is not acted on by this version: what fails ends the run",)


_SAME = [
    "image",
    "data",
    "volumes",
    "checkpoints",
    "env",
    "restarts",
    "timeouts",
    "python",
    "code",
]  # what a spec keeps as the file says it


def _mounts(file: ClusterFile) -> Iterator[tuple[str, Data | Volume]]:
    if file.data:
        yield "data", file.data
    for index, volume in enumerate(file.volumes):
        yield f"volumes[{index}]", volume


def _has(tasks: tuple[Task, ...], task_type: TaskType) -> bool:
    return any(task.id.type is task_type for task in tasks)
