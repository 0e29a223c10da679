"""Where each task stands: its host, its GPUs and its address, from what was read of the hosts."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from typing import NamedTuple

from launcher.address import Address
from launcher.cluster import ClusterSpec
from launcher.container import Container
from launcher.errors import InputError, Problem
from launcher.task import TaskId

NAMED_PORT = 2222  # where every task has an address of its own, all can have the same port


class HostFacts(NamedTuple):
    """What was read from one host: ports nobody listens on, and its GPUs' ids."""

    free_ports: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


def without_hosts(spec: ClusterSpec, lost: Collection[str]) -> ClusterSpec:
    """Return the cluster on the hosts that are left; what stood elsewhere is free to."""
    if not lost:
        return spec
    hosts = {name: host for name, host in spec.hosts.items() if name not in lost}
    tasks = tuple(
        task._replace(host=None, port=None) if task.host in lost else task for task in spec.tasks
    )
    return spec._replace(hosts=hosts, tasks=tasks)


def with_staying(spec: ClusterSpec, staying: Iterable[Container]) -> ClusterSpec:
    """Return the cluster with tasks that keep the host, the port and the GPUs that they have."""
    places = {container.task: container for container in staying}
    tasks = tuple(
        task._replace(host=place.host, port=place.address.port, device_ids=place.gpus)
        if (place := places.get(task.id))
        else task
        for task in spec.tasks
    )
    return spec._replace(tasks=tasks)


def _free_gpu_ids(
    spec: ClusterSpec, facts: Mapping[str, HostFacts]
) -> Mapping[str, tuple[str, ...]]:
    """Return by host the GPUs that no task has already."""
    had = {(task.host, each) for task in spec.tasks for each in task.device_ids or ()}
    lent = {
        name: facts.get(name, HostFacts()).gpus if host.gpu_ids is None else host.gpu_ids
        for name, host in spec.hosts.items()
    }
    return {name: tuple(i for i in ids if (name, i) not in had) for name, ids in lent.items()}


def hosts_of(spec: ClusterSpec, facts: Mapping[str, HostFacts]) -> list[str]:
    """Return the host of each task: the given one, else the one with most free GPUs.

    Among hosts with as many free GPUs the one with fewest tasks is taken, then file order.
    """
    order = {name: position for position, name in enumerate(spec.hosts)}
    free = {name: len(ids) for name, ids in _free_gpu_ids(spec, facts).items()}
    count = dict.fromkeys(spec.hosts, 0)
    for task in spec.tasks:
        if task.host is not None:
            free[task.host] -= task.gpus if task.device_ids is None else 0
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
            what = f"{task.id} wants {task.gpus} of a host's GPUs; none has so many left"
            raise InputError(Problem(where, what))
        heapreplace(heap, (lacking + task.gpus, tasks + 1, position, name))
        placed.append(name)
    return placed


def device_ids(
    spec: ClusterSpec, hosts: Sequence[str], facts: Mapping[str, HostFacts]
) -> list[tuple[str, ...]]:
    """Return the GPU ids of each task; no id is given twice."""
    free = {name: iter(ids) for name, ids in _free_gpu_ids(spec, facts).items()}
    given = []
    problems = []
    for task, host in zip(spec.tasks, hosts, strict=True):
        own = task.device_ids
        if own is None:
            own = tuple(islice(free[host], task.gpus))
        if len(own) < task.gpus:
            problems.append(
                Problem(
                    spec.source.where(f"hosts.{host}.gpus"),
                    f"{task.id} wants {task.gpus} of the GPUs of {host}, which has {len(own)} left",
                )
            )
        given.append(own)
    if problems:
        raise InputError(problems)
    return given


def named(spec: ClusterSpec) -> Iterator[Address]:
    """Yield each task's address on a network where every container has a name of its own."""
    return (Address(task.id.slug, task.port or NAMED_PORT) for task in spec.tasks)


def addresses(
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
