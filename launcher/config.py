"""cluster.yaml into a ClusterSpec. The only reader of the file, in both its forms.

Every problem that the file alone can show is found in one reading, each with file:line and key
path. What only a host knows (whether it answers, its free ports, its GPUs under `auto`) is not
asked here.
"""

import os.path
from collections.abc import Iterator, Mapping
from typing import TypeVar

import yaml

from launcher import consistency, tf_config
from launcher import strategy as rules
from launcher.address import Address
from launcher.cluster import Backend, ClusterSpec, Host, Source, Task
from launcher.cluster_file import ClusterFile, TaskGroup
from launcher.decode import Decoder
from launcher.errors import InputError, Problem, nearest
from launcher.names import as_name
from launcher.nodes import compose, show
from launcher.strategy import Strategy
from launcher.task import TaskId, TaskType

THIS_MACHINE = "localhost"
T = TypeVar("T")


def read(path: str, *, strategy: Strategy = Strategy.AUTO, elsewhere: bool = False) -> ClusterSpec:
    """Return the cluster that the file at `path` describes.

    strategy: the command line's choice; AUTO leaves it to the file.
    elsewhere: whether a platform gives the machines: what the file says of hosts is not checked.

    Raises:
        InputError: with every problem of the file.
    """
    spec = parse(_text(path), path, strategy=strategy, elsewhere=elsewhere)
    return _located(spec, os.path.dirname(os.path.abspath(path)))


def platform_settings(path: str, name: str, hint: type[T], *, given: bool) -> T:
    """Return what the file says below `platforms.NAME`, its defaults where it says nothing.

    given: whether the user named the file; else it need not be there.

    Raises:
        InputError: with every problem of that part of the file.
    """
    if not given and not os.path.exists(path):
        return hint()
    decoder = Decoder(path)
    found = _platforms(decoder).get(name)
    settings = hint() if found is None else decoder.decode(found, hint, f"platforms.{name}")
    if decoder.problems or settings is None:
        raise InputError(decoder.problems)
    return settings


def platforms_named(path: str) -> tuple[str, ...]:
    """Return the platforms of which the file at `path` says something."""
    return tuple(_platforms(Decoder(path)))


def _platforms(decoder: Decoder) -> Mapping[str, yaml.Node]:
    document = compose(_text(decoder.path), decoder.path, decoder.problems)
    if not document or not isinstance(document.root, yaml.MappingNode):
        return {}
    part = decoder.pairs(document.root, "").get("platforms")
    return decoder.pairs(part, "platforms") if isinstance(part, yaml.MappingNode) else {}


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a cluster.yaml") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text, byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _located(spec: ClusterSpec, folder: str) -> ClusterSpec:
    """Return the spec with this machine's paths absolute: they are relative to the file's."""

    def located(path: str) -> str:
        return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))

    if spec.code:
        spec = spec._replace(code=located(spec.code))
    if spec.data and spec.data.sync:
        spec = spec._replace(data=spec.data._replace(sync=located(spec.data.sync)))
    if spec.secrets:
        secrets = {
            name: secret._replace(file=located(secret.file)) if secret.file else secret
            for name, secret in spec.secrets.items()
        }
        spec = spec._replace(secrets=secrets)
    return spec


def parse(
    text: str,
    path: str = "cluster.yaml",
    *,
    strategy: Strategy = Strategy.AUTO,
    elsewhere: bool = False,
) -> ClusterSpec:
    """Return the cluster that a cluster.yaml's text describes; `path` is for messages.

    Raises:
        InputError: with every problem of the text.
    """
    reader = _Reader(path)
    reader.elsewhere = elsewhere
    document = compose(text, path, reader.problems)
    spec = document and reader.spec(document.root, strategy)
    if reader.problems or spec is None:
        raise InputError(sorted(reader.problems, key=lambda found: _line(found, path)))
    return spec


def _line(problem: Problem, path: str) -> int:
    line = problem.where.removeprefix(f"{path}:").partition(" ")[0].partition(":")[0]
    return int(line) if line.isdigit() else 0


class _Reader(Decoder):
    """Decodes one file and makes its two forms one."""

    notes: tuple[str, ...] = ()
    elsewhere = False

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
        has_ps = any(task.id.type is TaskType.PS for task in tasks)
        strategy = rules.resolve(file.strategy, has_ps=has_ps)
        tasks = self._without_idle_ps(tasks, strategy, old_form=file.cluster is not None)
        spec = ClusterSpec(
            name=file.name or "",
            backend=file.backend or (Backend.DOCKER if file.image else Backend.PROCESS),
            strategy=strategy,
            hosts=hosts,
            tasks=tasks,
            source=Source(self.path, self.lines),
            **{key: getattr(file, key) for key in _SAME},
        )
        consistency.check(spec, file, self, elsewhere=self.elsewhere)
        of_hosts = () if self.elsewhere else consistency.notes(spec, self)
        return spec._replace(notes=(*self.notes, *of_hosts))

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
                yield _task(TaskId(task_type, index), host, port, group)

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
            if given._replace(count=None, host=None, hosts=None, port=None) != given:
                self.problem(
                    f"tasks.{key}", "beside cluster count, hosts and ports may not be given here"
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
                yield _task(TaskId(task_type, index), name, address.port, group)

    def _without_idle_ps(
        self, tasks: tuple[Task, ...], strategy: Strategy, *, old_form: bool
    ) -> tuple[Task, ...]:
        kept = tuple(task for task in tasks if task.id.type is not TaskType.PS)
        if strategy is not Strategy.MULTI_WORKER_MIRRORED or kept == tasks:
            return tasks
        if not old_form:
            self.problem(
                "tasks.ps",
                "multi_worker_mirrored has no ps tasks; expected none, or parameter_server",
            )
        self.notes += ("the ps tasks are left out: multi_worker_mirrored has no use for them",)
        return kept


def _task(task: TaskId, host: str | None, port: int | None, group: TaskGroup) -> Task:
    return Task(task, host, port, group.gpus, group.env, group.args, group.memory, group.cpus)


_OF_CONTAINERS = "image_transfer secrets shm_size memory cpus ulimits".split()  # noqa: SIM905
_SAME = [
    *"image data volumes checkpoints env restarts timeouts python code nccl_interface".split(),  # noqa: SIM905
    *_OF_CONTAINERS,
]
