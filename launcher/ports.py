"""What the kernel's tables say of TCP ports: /proc/net/tcp and tcp6, as text."""

from collections.abc import Iterable

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENING = frozenset({"0A"})
#: States in which a socket keeps a server from its port: established, connecting, half closed and
#: listening. One that only waits out its time (TIME_WAIT) does not.
HOLDING = frozenset({"01", "02", "08", "0A"})


def local_ports(lines: Iterable[str], states: frozenset[str]) -> frozenset[int]:
    """Return the local ports of the sockets in one of these states."""
    rows = (line.split() for line in lines)
    return frozenset(
        int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] in states
    )
