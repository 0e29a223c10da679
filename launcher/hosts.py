"""The machines of a run, opened: one connection and one Docker Engine each, all at once.

What is read here are facts; what they mean for a plan is `preflight`'s and `plan`'s to say.
"""

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from launcher.cluster import Host
from launcher.engine import DEFAULT_SOCKET, Engine, local_socket, open_local
from launcher.errors import HostError
from launcher.logins import Logins

Item = TypeVar("Item")
Got = TypeVar("Got")

_SCRIPT_S = 30.0


class Machine(NamedTuple):
    """One host, reached.

    shell: runs a POSIX shell script there as the login user and returns what it prints.
    """

    name: str
    host: Host
    engine: Engine
    shell: Callable[[str], str]


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


def attempts(items: Iterable[Item], do: Callable[[Item], Got]) -> list[Got | HostError]:
    """Return for each item what `do` gives or the HostError that it raises, all at once."""
    todo = list(items)
    with ThreadPoolExecutor(max(1, len(todo)), thread_name_prefix="host") as pool:
        return list(pool.map(lambda item: _attempt(lambda: do(item)), todo))


def at_all(items: Iterable[Item], do: Callable[[Item], Got]) -> list[Got]:
    """Return what `do` gives for each item, all at once.

    Raises:
        HostError: with the text of every HostError that `do` raised.
    """
    done = attempts(items, do)
    failed = [str(got) for got in done if isinstance(got, HostError)]
    if failed:
        raise HostError("\n".join(failed))
    return [got for got in done if not isinstance(got, HostError)]


def within(limit_s: float, do: Callable[[], Got], or_else: str) -> Got:
    """Return what `do` returns where it does so in time; else it goes on unattended.

    Raises:
        HostError: `or_else`, or what `do` raised.
    """
    box: queue.SimpleQueue[Got | HostError] = queue.SimpleQueue()
    threading.Thread(target=lambda: box.put(_attempt(do)), name="within", daemon=True).start()
    try:
        got = box.get(timeout=limit_s)
    except queue.Empty:
        raise HostError(or_else) from None
    if isinstance(got, HostError):
        raise got
    return got


def _attempt(do: Callable[[], Got]) -> Got | HostError:
    try:
        return do()
    except HostError as error:
        return error


def _this_machine(name: str, host: Host) -> Machine:
    path = host.docker_socket or local_socket(os.environ)
    return Machine(name, host, Engine(name, open_local, path), lambda script: _run(name, script))


def _run(name: str, script: str) -> str:
    try:
        done = subprocess.run(
            ["sh", "-s"], input=script.encode(), capture_output=True, timeout=_SCRIPT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{name}: did not say within {_SCRIPT_S:g} s what it has") from None
    return done.stdout.decode(errors="replace")


def _other_machine(name: str, host: Host, logins: Logins) -> Machine:
    connection = logins.connection(name)
    engine = Engine(name, connection.open_socket, host.docker_socket or DEFAULT_SOCKET)
    return Machine(name, host, engine, lambda script: logins.said(name, script))
