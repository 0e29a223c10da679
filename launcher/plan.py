"""From what was asked for to what will be started, decided in full and without touching a thing.

`plan` is a function of its arguments: the spec, the job, and the facts that were read from the
hosts before. `--dry-run` prints the very value that a run executes.
"""

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from typing import NamedTuple

from launcher import strategy as rules
from launcher.address import Address
from launcher.cluster import Backend, ClusterSpec, Host, Task, Timeouts
from launcher.container import Container, masked
from launcher.errors import InputError, Problem
from launcher.layout import Job, Layout
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, TaskId, TaskType
from launcher.tf_config import Cluster, TfConfig


class HostFacts(NamedTuple):
    """What was read from one host: ports nobody listens on, and its GPUs' ids."""

    free_ports: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


class Plan(NamedTuple):
    """One run, decided.

    cluster: every task's `host:port`, the evaluator's too; empty for a single task without
        TF_CONFIG.
    tasks: in the order chief, worker, ps, evaluator and by index.
    run_dir: absolute path on this machine.
    checkpoint_dir: the folder that all tasks share for checkpoints, as they see it.
    """

    run_id: str
    job: Job
    backend: Backend
    strategy: Strategy
    cluster: Cluster
    tasks: tuple[Container, ...]
    timeouts: Timeouts
    run_dir: str
    checkpoint_dir: str
    notes: tuple[str, ...] = ()

    def tf_config(self, task: TaskId) -> TfConfig | None:
        """Return what a task is told of its cluster, or None in a run without a cluster."""
        return TfConfig.for_task(self.cluster, task, self.strategy) if self.cluster else None

    def env(self, container: Container) -> Mapping[str, str]:
        """Return a task's whole environment on top of the host's, TF_CONFIG included.

        A task without GPUs sees none. One in a container sees just those that the container was
        given, under numbers of their own.
        """
        env = dict(container.env)
        if self.backend is Backend.PROCESS or not container.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(container.gpus)
        config = self.tf_config(container.task)
        if config:
            env["TF_CONFIG"] = config.to_json()
        return env

    def role(self, task: TaskId) -> Role:
        """Return the role that a task plays."""
        return rules.role(self.strategy, task.type)

    def log_path(self, task: TaskId, attempt: int) -> str:
        """Return the file that holds all that one attempt of a task prints."""
        return f"{self.run_dir}/logs/{task.slug}.{attempt}.log"

    def to_dict(self) -> dict[str, object]:
        """Return the plan for showing and for plan.json; secret values are masked."""
        tasks = [
            {
                "task": str(c.task),
                "role": self.role(c.task).value,
                "host": c.host,
                "address": str(c.address),
                "gpus": list(c.gpus),
                "argv": list(c.argv),
                "env": masked(self.env(c)),
                "work_dir": c.work_dir,
                "output_dir": c.output_dir,
                "log": self.log_path(c.task, 1),
                "image": c.image,
                "mounts": [mount._asdict() for mount in c.mounts],
            }
            for c in self.tasks
        ]
        return {
            "run": self.run_id,
            "job": self.job.name,
            "backend": self.backend.value,
            "strategy": self.strategy.value if self.cluster else None,
            "run_dir": self.run_dir,
            "checkpoint_dir": self.checkpoint_dir,
            "timeouts": self.timeouts._asdict(),
            "notes": list(self.notes),
            "tasks": tasks,
        }


def plan(
    spec: ClusterSpec,
    job: Job,
    run_id: str,
    facts: Mapping[str, HostFacts],
    *,
    run_dir: str,
    python: str,
) -> Plan:
    """Return the plan of one run of `job` on the cluster `spec`.

    facts: by host name; a host without facts has no free port and, under `gpus: auto`, no GPU.
    run_dir: absolute; nothing is made there.
    python: the interpreter for processes where the spec names none.

    Raises:
        InputError: the tasks do not fit on the hosts.
    """
    hosts = _place(spec, facts)
    gpus = _device_ids(spec, hosts, facts)
    addresses = tuple(_addresses(spec, hosts, facts))
    layout = Layout.of(spec, job, run_id, run_dir, python)
    env = layout.env(spec, run_id)
    containers = tuple(
        _container(task, host, address, ids, layout=layout, env=env, job=job, image=spec.image)
        for task, host, address, ids in zip(spec.tasks, hosts, addresses, gpus, strict=True)
    )
    return Plan(
        run_id=run_id,
        job=job,
        backend=spec.backend,
        strategy=spec.strategy,
        cluster=_cluster(spec.tasks, addresses),
        tasks=containers,
        timeouts=spec.timeouts,
        run_dir=run_dir,
        checkpoint_dir=layout.checkpoint_dir,
        notes=spec.notes,
    )


def plan_single(
    job: Job, run_id: str, gpus: Sequence[str], *, run_dir: str, python: str, host: str
) -> Plan:
    """Return the plan of one task without a cluster: it sees at most the first of `gpus`."""
    task = Task(CHIEF, host, None, min(1, len(gpus)), {}, ())
    spec = ClusterSpec(
        Backend.PROCESS, Strategy.MULTI_WORKER_MIRRORED, {host: Host("127.0.0.1")}, (task,)
    )
    layout = Layout.of(spec, job, run_id, run_dir, python)
    env = {k: v for k, v in layout.env(spec, run_id).items() if k != "LAUNCH_STRATEGY"}
    container = _container(
        task,
        host,
        Address("127.0.0.1", 0),
        tuple(gpus[:1]),
        layout=layout,
        env=env,
        job=job,
        image=None,
    )
    return Plan(
        run_id=run_id,
        job=job,
        backend=spec.backend,
        strategy=spec.strategy,
        cluster={},
        tasks=(container,),
        timeouts=spec.timeouts,
        run_dir=run_dir,
        checkpoint_dir=layout.checkpoint_dir,
    )


def _cluster(tasks: Sequence[Task], addresses: Sequence[Address]) -> Cluster:
    """Return the addresses by task type."""
    of_type: dict[TaskType, list[str]] = {}
    for task, address in zip(tasks, addresses, strict=True):
        of_type.setdefault(task.id.type, []).append(str(address))
    return {task_type: tuple(listed) for task_type, listed in of_type.items()}


def _container(
    task: Task,
    host: str,
    address: Address,
    gpus: tuple[str, ...],
    *,
    layout: Layout,
    env: Mapping[str, str],
    job: Job,
    image: str | None,
) -> Container:
    """Return one task, placed."""
    output_dir = layout.output_dir(task.id.slug)
    platform = layout.platform_args(output_dir, len(gpus)) if job.platform_args else ()
    argv = (*layout.command, *platform, *task.args, *job.args)
    if not job.script:  # what was given is the whole command: its program stays the first word
        argv = (*job.args, *task.args)
    return Container(
        task=task.id,
        host=host,
        address=address,
        gpus=gpus,
        argv=argv,
        env={**env, **task.env} if task.env else env,
        work_dir=layout.work_dir,
        output_dir=output_dir,
        image=image,
        mounts=layout.mounts,
    )


def _gpu_ids(spec: ClusterSpec, name: str, facts: Mapping[str, HostFacts]) -> tuple[str, ...]:
    ids = spec.hosts[name].gpu_ids
    return facts.get(name, HostFacts()).gpus if ids is None else ids


def _place(spec: ClusterSpec, facts: Mapping[str, HostFacts]) -> list[str]:
    """Return the host of each task: the given one, else the one with most free GPUs.

    Among hosts with as many free GPUs the one with fewest tasks is taken, then file order.
    """
    order = {name: position for position, name in enumerate(spec.hosts)}
    free = {name: len(_gpu_ids(spec, name, facts)) for name in spec.hosts}
    count = dict.fromkeys(spec.hosts, 0)
    for task in spec.tasks:
        if task.host is not None:
            free[task.host] -= task.gpus
            count[task.host] += 1
    heap = [(-free[name], count[name], order[name], name) for name in spec.hosts]
    heapify(heap)
    placed = []
    for task in spec.tasks:
        if task.host is not None:
            placed.append(task.host)
            continue
        lacking, tasks, position, name = heap[0]
        if -lacking < task.gpus:
            where = spec.source.where(f"tasks.{task.id.type.value}")
            what = f"no host has {task.gpus} free GPUs left for {task.id}"
            raise InputError(Problem(where, what))
        heapreplace(heap, (lacking + task.gpus, tasks + 1, position, name))
        placed.append(name)
    return placed


def _device_ids(
    spec: ClusterSpec, hosts: Sequence[str], facts: Mapping[str, HostFacts]
) -> list[tuple[str, ...]]:
    """Return the GPU ids of each task; no id is given twice."""
    ids = {name: iter(_gpu_ids(spec, name, facts)) for name in spec.hosts}
    given = []
    problems = []
    for task, host in zip(spec.tasks, hosts, strict=True):
        own = tuple(islice(ids[host], task.gpus))
        if len(own) < task.gpus:
            problems.append(
                Problem(
                    spec.source.where(f"hosts.{host}.gpus"),
                    f"{task.id} wants {task.gpus} GPUs, {len(own)} are left on {host}",
                )
            )
        given.append(own)
    if problems:
        raise InputError(problems)
    return given


def _addresses(
    spec: ClusterSpec, hosts: Sequence[str], facts: Mapping[str, HostFacts]
) -> Iterator[Address]:
    fixed: dict[str, dict[int, TaskId]] = {name: {} for name in spec.hosts}
    for task, host in zip(spec.tasks, hosts, strict=True):
        if task.port is None:
            continue
        first = fixed[host].setdefault(task.port, task.id)
        if first != task.id:
            where = spec.source.where(f"tasks.{task.id.type.value}.port")
            what = f"{task.id} would have port {task.port} on {host}, the port of {first}"
            raise InputError(Problem(where, what))
    ports = {
        name: iter([p for p in facts.get(name, HostFacts()).free_ports if p not in fixed[name]])
        for name in spec.hosts
    }
    for task, host in zip(spec.tasks, hosts, strict=True):
        port = task.port or next(ports[host], None)
        if port is None:
            raise InputError(f"{host} has no free port left for {task.id}")
        yield Address(spec.hosts[host].address, port)
