"""Where each task stands: its host, its GPUs and its address, from what was read of the hosts."""

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from typing import NamedTuple

from launcher import strategy as rules
from launcher.address import Address
from launcher.cluster import ClusterSpec, Place, Task
from launcher.container import Container
from launcher.errors import InputError, Problem
from launcher.task import TaskId

NAMED_PORT = 2222  # where every task has an address of its own, all can have the same port


class HostFacts(NamedTuple):
    """What was read from one host: ports nobody listens on, and its GPUs' ids."""

    free_ports: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()


class Moves(NamedTuple):
    """Which tasks of a run are to start where a place for them is found now.

    lost: hosts on which nothing starts any more.
    staying: all other tasks, where they stand.
    """

    starting: frozenset[TaskId]
    lost: frozenset[str] = frozenset()
    staying: tuple[Container, ...] = ()

    def check(self) -> None:
        """Refuse to place an evaluator before those of the cluster that a lost host had.

        Raises:
            InputError: it would take their room.
        """
        for c in self.staying:
            if c.host in self.lost and not rules.may_fail(c.task):
                raise InputError(f"{c.host} is lost, and {c.task} is to find another place first")


def moved(spec: ClusterSpec, moves: Moves) -> ClusterSpec:
    """Return the cluster as it is to be placed now.

    What stood on a lost host is free to stand elsewhere. An evaluator that is lost and does not
    start now wants no GPU: no run ends for want of its place.

    Raises:
        InputError: see `Moves.check`.
    """
    moves.check()
    there = (container for container in moves.staying if container.host not in moves.lost)
    places = {c.task: Place(c.host, c.address, c.gpus) for c in there}

    def again(task: Task) -> Task:
        if task.host in moves.lost:
            task = task._replace(host=None, port=None)
        if task.id in places:
            return task._replace(place=places[task.id])
        return task if task.id in moves.starting else task._replace(gpus=0)

    return spec._replace(lost=tuple(sorted(moves.lost)), tasks=tuple(map(again, spec.tasks)))


def _free_gpu_ids(
    spec: ClusterSpec, facts: Mapping[str, HostFacts]
) -> Mapping[str, tuple[str, ...]]:
    """Return by host the GPUs that no task has already."""
    had = {(t.place.host, each) for t in spec.tasks if t.place for each in t.place.device_ids}
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
    given = [task.place.host if task.place else task.host for task in spec.tasks]
    for task, host in zip(spec.tasks, given, strict=True):
        if host is not None:
            free[host] -= 0 if task.place else task.gpus
            count[host] += 1
    heap = [(-free[n], count[n], order[n], n) for n in spec.hosts if n not in spec.lost]
    heapify(heap)
    placed = []
    for task, host in zip(spec.tasks, given, strict=True):
        if host is not None:
            placed.append(host)
            continue
        if not heap or -heap[0][0] < task.gpus:
            where = spec.source.where(f"tasks.{task.id.type.value}")
            wish = f"{task.gpus} of a host's GPUs; none has so many left"
            raise InputError(Problem(where, f"{task.id} wants {wish if heap else 'a host'}"))
        lacking, tasks, position, name = heap[0]
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
        if task.place:
            given.append(task.place.device_ids)
            continue
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
        port = task.place.address.port if task.place else task.port
        if port is None:
            continue
        first = fixed[host].setdefault(port, task.id)
        if first != task.id:
            where = spec.source.where(f"tasks.{task.id.type.value}.port")
            what = f"{task.id} would have port {port} on {host}, the port of {first}"
            raise InputError(Problem(where, what))
    ports = {
        name: iter([p for p in facts.get(name, HostFacts()).free_ports if p not in fixed[name]])
        for name in spec.hosts
    }
    for task, host in zip(spec.tasks, hosts, strict=True):
        if task.place:
            yield task.place.address
            continue
        port = task.port or next(ports[host], None)
        if port is None:
            raise InputError(f"{host} has no free port left for {task.id}")
        yield Address(spec.hosts[host].address, port)
