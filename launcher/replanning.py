"""Other places for the tasks of a run of which there is no more than its plan: pure, as `plan` is.

For a run that another launcher began: its cluster.yaml may be on another machine, or changed.
"""

from collections.abc import Mapping

from launcher import placement
from launcher.cluster import ClusterSpec, Host, Task
from launcher.placement import HostFacts, Moves
from launcher.plan import HOST_NETWORK, Plan


def placed_anew(
    plan: Plan,
    hosts: Mapping[str, Host],
    facts: Mapping[str, HostFacts],
    moves: Moves,
) -> Plan:
    """Return a run's plan with ports that are free now, on hosts that are not lost.

    A task stays on its host where that is left, and keeps a port that cluster.yaml gave it.

    hosts: those that there are now, by name.
    facts: what was read of those that are not lost.

    Raises:
        InputError: the tasks do not fit there.
    """
    if plan.network != HOST_NETWORK:  # every task has an address of its own there
        return plan
    gone = {container.host for container in plan.tasks} - hosts.keys() | moves.lost
    fixed = tuple(c.task for c in plan.tasks if c.task in plan.fixed_ports and c.host not in gone)
    tasks = tuple(
        Task(c.task, c.host, c.address.port if c.task in fixed else None, len(c.gpus), {}, ())
        for c in plan.tasks
    )
    spec = ClusterSpec(plan.backend, plan.strategy, hosts, tasks)
    spec = placement.moved(spec, moves._replace(lost=frozenset(gone)))
    names = placement.hosts_of(spec, facts)
    gpus = placement.device_ids(spec, names, facts)
    addresses = tuple(placement.addresses(spec, names, facts))
    containers = tuple(
        container._replace(host=host, address=address, gpus=ids)
        for container, host, address, ids in zip(plan.tasks, names, addresses, gpus, strict=True)
    )
    return plan.of_tasks(containers)._replace(fixed_ports=fixed)
