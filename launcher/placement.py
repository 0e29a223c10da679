"""Where each task stands: its host, its GPUs and its address, from what was read of the hosts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from typing import NamedTuple

from launcher.address import Address
from launcher.cluster import ClusterSpec
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


def _gpu_ids(spec: ClusterSpec, name: str, facts: Mapping[str, HostFacts]) -> tuple[str, ...]:
    ids = spec.hosts[name].gpu_ids
    return facts.get(name, HostFacts()).gpus if ids is None else ids


def hosts_of(spec: ClusterSpec, facts: Mapping[str, HostFacts]) -> list[str]:
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


def device_ids(
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
