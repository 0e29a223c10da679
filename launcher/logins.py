"""The logins to a run's hosts, begun at once: they go on while this machine imports the rest."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from launcher.at_once import within
from launcher.cluster import Host
from launcher.errors import HostError

if TYPE_CHECKING:
    from launcher.ssh import Connection, Connections, Target

UNREACHABLE_S = 120.0  #: after which a host is given up that cannot be reached any more

_CLOSE_S = 1.0
SCRIPT_S = 30.0


class Said(NamedTuple):
    """What a host's shell printed, and this machine's clock as it was asked and as it had answered.

    The times are those of `time.time`.
    """

    text: str
    asked_at: float
    answered_at: float


class Logins:
    """One connection to each host that is not this machine; a context that closes them.

    ask: returns what a person types behind a prompt, unseen; None where nobody can.
    scripts: by name, what a host is asked as soon as it is there.
    connect_s: how long to try a host for which the user's files set no ConnectTimeout.
    unreachable_s: after how long a host that was there is given up.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        ask: Callable[[str], str] | None,
        scripts: Mapping[str, str] | None = None,
        connect_s: float | None = None,
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        self._connect_s = connect_s
        self._unreachable_s = unreachable_s
        self._connections: Connections | None = None
        self._logins: dict[str, Future[Connection]] = {}
        self._scripts = scripts or {}
        self._answers: dict[str, Future[Said]] = {}
        others = {name: host for name, host in hosts.items() if not host.is_here}
        if others:
            self._begin(others, ask)

    def connection(self, name: str) -> "Connection":
        """Return the connection to a host, once it is there. Raises HostError."""
        return self._logins[name].result()

    def said(self, name: str, script: str) -> Said:
        """Return what a host's shell prints for a script; the first one was asked before.

        Raises:
            HostError: it cannot be run there.
        """
        if script == self._scripts.get(name) and (answer := self._answers.pop(name, None)):
            return answer.result()
        return _said(self.connection(name), script)

    def __enter__(self) -> "Logins":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them; one that is being made to a host that is gone is not waited for."""
        if self._connections is not None:
            with suppress(HostError):
                within(_CLOSE_S, self._connections.close, "not closed in time")

    def _begin(self, hosts: Mapping[str, Host], ask: Callable[[str], str] | None) -> None:
        from launcher.ssh import Connections

        connections = self._connections = Connections(
            ask=ask, connect_s=self._connect_s, unreachable_s=self._unreachable_s
        )

        def log_in(target: "Target") -> "Connection":
            connection = connections.of(target)
            connection.connect()
            return connection

        pool = ThreadPoolExecutor(2 * len(hosts), thread_name_prefix="login")
        for name, host in hosts.items():
            self._logins[name] = pool.submit(log_in, target(name, host))
        for name in self._scripts.keys() & hosts.keys():
            self._answers[name] = pool.submit(self._first_answer, name)
        pool.shutdown(wait=False)

    def _first_answer(self, name: str) -> Said:
        return _said(self.connection(name), self._scripts[name])


def _said(connection: "Connection", script: str) -> Said:
    asked_at = time.time()
    done = connection.run("sh -s", stdin=script.encode(), timeout_s=SCRIPT_S)
    return Said(done.stdout.decode(errors="replace"), asked_at, time.time())


def target(name: str, host: Host) -> "Target":
    """Return whom to log in to for a host of cluster.yaml."""
    from launcher.ssh import Target

    ssh = host.ssh
    if ssh is None:
        return Target(name, host.address)
    return Target(name, ssh.host or host.address, ssh.user, ssh.port, ssh.identity_file)
