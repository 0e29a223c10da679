"""The machines of a run, opened: one connection and one Docker Engine each, all at once.

What is read here are facts; what they mean for a plan is `preflight`'s and `plan`'s to say.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from launcher.at_once import attempts
from launcher.cluster import Host
from launcher.engine import DEFAULT_SOCKET, Engine, local_socket, open_local
from launcher.errors import HostError
from launcher.logins import SCRIPT_S, Logins, Said


class Machine(NamedTuple):
    """One host, reached.

    ask: runs a POSIX shell script there as the login user and returns what it prints.
    """

    name: str
    host: Host
    engine: Engine
    ask: Callable[[str], Said]

    def shell(self, script: str) -> str:
        """Return what a script prints there. Raises HostError."""
        return self.ask(script).text


class Opened(NamedTuple):
    """What came of opening hosts.

    machines: those reached, by name.
    unreached: of the others why, by name.
    """

    machines: Mapping[str, Machine]
    unreached: Mapping[str, str]


@contextlib.contextmanager
def opened(hosts: Mapping[str, Host], logins: Logins) -> Iterator[Opened]:
    """Open the engines of all hosts at once, and close them afterwards."""
    with contextlib.ExitStack() as stack:

        def reach(item: tuple[str, Host]) -> Machine:
            name, host = item
            return _this_machine(name, host) if host.is_here else _other_machine(*item, logins)

        machines: dict[str, Machine] = {}
        unreached: dict[str, str] = {}
        for name, got in zip(hosts, attempts(hosts.items(), reach), strict=True):
            if isinstance(got, HostError):
                unreached[name] = str(got)
            else:
                machines[name] = got
                stack.callback(got.engine.close)
        yield Opened(machines, unreached)


def _this_machine(name: str, host: Host) -> Machine:
    path = host.docker_socket or local_socket(os.environ)
    return Machine(name, host, Engine(name, open_local, path), lambda script: _run(name, script))


def _run(name: str, script: str) -> Said:
    asked_at = time.time()
    try:
        done = subprocess.run(
            ["sh", "-s"], input=script.encode(), capture_output=True, timeout=SCRIPT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{name}: did not say within {SCRIPT_S:g} s what it has") from None
    return Said(done.stdout.decode(errors="replace"), asked_at, time.time())


def _other_machine(name: str, host: Host, logins: Logins) -> Machine:
    connection = logins.connection(name)
    engine = Engine(name, connection.open_socket, host.docker_socket or DEFAULT_SOCKET)
    return Machine(name, host, engine, lambda script: logins.said(name, script))
