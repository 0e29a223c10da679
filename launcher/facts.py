"""What planning must know before it can decide: this machine's free ports and GPUs, a run's id.

Imported before every plan is shown, so what only some plans need is imported where it is used.
"""

import _socket as socket  # the C layer suffices, and `socket` costs a fifth of a start more
import errno
import os
import time
from collections.abc import Iterable

from launcher.errors import HostError
from launcher.names import as_name
from launcher.placement import HostFacts

# Below the range from which Linux hands out ports for outgoing connections by default
# (net.ipv4.ip_local_port_range), so that no connection of a task takes a port before its server.
_PORTS = range(20000, 32000)


def read_facts(ports: int, *, gpus: bool, run_id: str = "") -> HostFacts:
    """Return what planning must know of this machine: `ports` free ports, and its GPUs if asked.

    run_id: whose GPUs, held already, come first.
    """
    free = tuple(_free_ports(ports))
    if not gpus:
        return HostFacts(free)
    from launcher import gpus_here

    return HostFacts(free, gpus_here.ids(run_id))


def _free_ports(count: int) -> Iterable[int]:
    """Return ports that nobody listens on, from a random start: two runs begin far apart."""
    start = int.from_bytes(os.urandom(4), "big")
    order = (_PORTS[(start + step) % len(_PORTS)] for step in range(len(_PORTS)))
    found: list[int] = []
    while len(found) < count:
        port = next(order, None)
        if port is None:
            raise HostError(f"this machine has no {count} free ports in {_PORTS}")
        if port_is_free(port):
            found.append(port)
    return found


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port`, on every address of this machine."""
    ipv6_only = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if not _can_bind(socket.AF_INET, "0.0.0.0", port):  # noqa: S104 - as TensorFlow's servers do
        return False
    return _can_bind(socket.AF_INET6, "::", port, ipv6_only)


def _can_bind(family: int, address: str, port: int, *options: tuple[int, int, int]) -> bool:
    """Whether nobody holds the port in an address family; one that is absent holds nothing."""
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return True
    try:
        for option in ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), *options):
            probe.setsockopt(*option)
        probe.bind((address, port))
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    finally:
        probe.close()
    return True


def new_run_id(name: str) -> str:
    """Return `NAME-YYYYMMDD-HHMMSS-xxxx` (UTC): sorts by time, unique among many launchers."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{as_name(name, 'run')}-{stamp}-{os.urandom(2).hex()}"
