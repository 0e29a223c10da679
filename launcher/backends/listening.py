"""Which tasks in containers have opened their ports: from their hosts' tables, or by a knock."""

import socket
from collections.abc import Collection, Mapping, Sequence

from launcher import ports
from launcher.at_once import attempts
from launcher.backends.made import Made
from launcher.container import Container
from launcher.hosts import Machine
from launcher.task import TaskId

_CONNECT_S = 1.0


def on_hosts(
    containers: Sequence[Container], machines: Mapping[str, Machine]
) -> Collection[TaskId]:
    """Return those of the tasks that listen in their hosts' own network.

    A host that does not say counts as one on which nobody listens.
    """
    names = {container.host for container in containers}
    asked = [machine for name, machine in machines.items() if name in names]
    opened = dict(zip((m.name for m in asked), attempts(asked, _open_ports), strict=True))
    return {
        c.task
        for c in containers
        if isinstance(found := opened[c.host], frozenset) and c.address.port in found
    }


def answers(made: Made, network: str) -> bool:
    """Whether something accepts connections at a task's port on the run's own bridge.

    Raises:
        HostError: the engine does not describe the container.
    """
    with made.machine.engine.errors("does not describe a container"):
        described = made.machine.engine.api.inspect_container(made.id)
    endpoint = described["NetworkSettings"]["Networks"].get(network) or {}
    address = (endpoint.get("IPAddress") or "", made.container.address.port)
    try:
        socket.create_connection(address, _CONNECT_S).close()
    except OSError:
        return False
    return True


def _open_ports(machine: Machine) -> frozenset[int]:
    tables = machine.shell(f"cat {' '.join(ports.TABLES)} 2>/dev/null")
    return ports.local_ports(tables.splitlines(), ports.LISTENING)
