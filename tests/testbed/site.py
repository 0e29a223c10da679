"""Where a testbed lives on this machine: its folder, its names, its addresses, its lock.

`LAUNCH_TESTBED=NAME` gives one of its own to whoever must not meet another's.
"""

import fcntl
import ipaddress
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from tests.testbed.commands import TestbedError, run

_STATE = Path("/var/lib/launch-testbed")
_NETWORKS = range(77, 250)
LAUNCHER = 254  # the last number of the launching machine's address


def cache_folder() -> Path:
    """Return the folder of what is made once: the only thing that outlives a testbed."""
    root = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(root) / "launch-testbed"


class Site(NamedTuple):
    """The names of one testbed; everything it makes bears one of them."""

    name: str

    @classmethod
    def here(cls) -> "Site":
        """Return the site that the environment names."""
        name = os.environ.get("LAUNCH_TESTBED", "")
        if not re.fullmatch(r"[a-z]{0,3}", name):
            raise TestbedError(f"LAUNCH_TESTBED={name}: expected at most three letters a-z")
        return cls(name)

    @property
    def folder(self) -> Path:
        """All that the testbed keeps, except the cache."""
        return _STATE / (self.name or "default")

    @property
    def cgroup(self) -> str:
        """The parent of every container's cgroup."""
        return f"/launch-testbed-{self.name or 'default'}"

    @property
    def prefix(self) -> str:
        """What the names of network namespaces and of our one interface begin with."""
        return f"launch-{self.name}-" if self.name else "launch-"

    @property
    def wire(self) -> str:
        """The interface by which the launching machine reaches the hosts."""
        return f"{self.prefix}up"

    @property
    def switch(self) -> str:
        """The network namespace that holds the bridge."""
        return f"{self.prefix}switch"

    def netns(self, host: str) -> str:
        """Return the name of a host's network namespace."""
        return f"{self.prefix}{host}"


class Subnet(NamedTuple):
    """The network that hosts and launching machine share."""

    second: int  # number of the address, of four

    def address(self, number: int) -> str:
        """Return the IPv4 address of the machine of that number."""
        return f"10.{self.second}.0.{number}"

    def address6(self, number: int) -> str:
        """Return its IPv6 address."""
        return f"fd77:{self.second}::{number}"


def free_subnet() -> Subnet:
    """Return a network that no route of this machine overlaps."""
    routes = json.loads(run("ip", "-j", "route", "show", "table", "all").stdout or "[]")
    taken = [
        ipaddress.ip_network(r["dst"], strict=False)
        for r in routes
        if re.fullmatch(r"\d+\.\d+\.\d+\.\d+(/\d+)?", r.get("dst", ""))
    ]
    for second in _NETWORKS:
        subnet = Subnet(second)
        network = ipaddress.ip_network(f"{subnet.address(0)}/24")
        if not any(network.overlaps(other) for other in taken):
            return subnet
    raise TestbedError("no network of 10.77.0.0/24 to 10.249.0.0/24 is free of routes here")


class Lock:
    """Held by one process at a time; let go by the kernel when that process ends."""

    def __init__(self, name: str) -> None:
        path = cache_folder() / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+")

    def take(self, *, wait: bool = False) -> bool:
        """Return whether the lock is ours now; with `wait` it always is, sooner or later."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return True

    def owner(self) -> str:
        """Return the pid that took it last, as text."""
        return self._path.read_text()

    def release(self) -> None:
        """Let it go."""
        self._file.close()
