"""The machines of a run, opened: one connection and one Docker Engine each, all at once.

What is read here are facts; what they mean for a plan is `preflight`'s and `plan`'s to say.
"""

import contextlib
import errno
import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from launcher.at_once import attempts
from launcher.cluster import Host
from launcher.engine import DEFAULT_SOCKET, Engine, local_socket, open_local
from launcher.errors import HostError
from launcher.lease import Session
from launcher.logins import SCRIPT_S, Logins, Said

if TYPE_CHECKING:
    from launcher.ssh import Connection


class Machine(NamedTuple):
    """One host, reached.

    ask: runs a POSIX shell script there as the login user and returns what it prints.
    start: starts one there that runs for as long as it is wanted.
    """

    name: str
    host: Host
    engine: Engine
    ask: Callable[[str], Said]
    start: Callable[[str], Session]

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
def opening(hosts: Mapping[str, Host], logins: Logins) -> Iterator[Callable[[], Opened]]:
    """Begin to open the engines of all hosts; give what waits for that; close them in the end."""
    with ThreadPoolExecutor(1, thread_name_prefix="opening") as pool:
        future = pool.submit(_open, hosts, logins)
        try:
            yield future.result
        finally:
            for machine in future.result().machines.values():
                machine.engine.close()


@contextlib.contextmanager
def opened(hosts: Mapping[str, Host], logins: Logins) -> Iterator[Opened]:
    """Open the engines of all hosts at once, and close them afterwards."""
    with opening(hosts, logins) as all_open:
        yield all_open()


def _open(hosts: Mapping[str, Host], logins: Logins) -> Opened:
    def reach(item: tuple[str, Host]) -> Machine:
        name, host = item
        return _this_machine(name, host) if host.is_here else _other_machine(*item, logins)

    got = dict(zip(hosts, attempts(hosts.items(), reach), strict=True))
    return Opened(
        {name: each for name, each in got.items() if isinstance(each, Machine)},
        {name: str(each) for name, each in got.items() if isinstance(each, HostError)},
    )


def _this_machine(name: str, host: Host) -> Machine:
    path = host.docker_socket or local_socket(os.environ)
    engine = Engine(name, open_local, path)
    return Machine(name, host, engine, lambda script: _run(name, script), LocalSession)


def _run(name: str, script: str) -> Said:
    asked_at = time.time()
    try:
        done = subprocess.run(
            ["sh", "-s"], input=script.encode(), capture_output=True, timeout=SCRIPT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{name}: did not say within {SCRIPT_S:g} s what it has") from None
    return Said(done.stdout.decode(errors="replace"), asked_at, time.time())


class LocalSession:
    """A shell script that runs on this machine for as long as it is wanted."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def read_line(self, timeout_s: float) -> str:
        """Return the next line of its standard output; empty where none comes in time."""
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            return ""
        return self._process.stdout.readline().decode(errors="replace").strip()

    def send(self, data: bytes) -> None:
        """Give it something to read. Raises OSError where it has ended, or was closed."""
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
        except ValueError:  # closed meanwhile, from another thread
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def close(self) -> None:
        """End it: what it reads is over."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class RemoteSession:
    """A shell script that runs on another machine for as long as it is wanted."""

    def __init__(self, connection: "Connection", script: str) -> None:
        self._stream = connection.open_command(f"exec sh -c {shlex.quote(script)}")

    def read_line(self, timeout_s: float) -> str:
        """Return the next line of its standard output; empty where none comes in time."""
        self._stream.settimeout(timeout_s)
        line = b""
        with contextlib.suppress(TimeoutError):
            while not line.endswith(b"\n") and (more := self._stream.recv(1)):
                line += more
        return line.decode(errors="replace").strip()

    def send(self, data: bytes) -> None:
        """Give it something to read. Raises OSError where it has ended."""
        self._stream.sendall(data)

    def close(self) -> None:
        """End it: what it reads is over."""
        self._stream.close()


def _other_machine(name: str, host: Host, logins: Logins) -> Machine:
    connection = logins.connection(name)
    engine = Engine(
        name,
        connection.open_socket,
        host.docker_socket or DEFAULT_SOCKET,
        lambda: connection.silent_s,
    )
    start = partial(RemoteSession, connection)
    return Machine(name, host, engine, lambda script: logins.said(name, script), start)
