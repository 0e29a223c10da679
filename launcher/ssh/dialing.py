"""From a route to a logged-in transport: one attempt at it, with every failure in words.

Here host keys are checked, before anything of the user's is sent.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from launcher.errors import HostError
from launcher.ssh import host_keys
from launcher.ssh.host_keys import HostKey
from launcher.ssh.login import DroppedInLogin, Keys, log_in
from launcher.ssh.pacing import Dropped, Pacing, persist
from launcher.ssh.settings import Route, Settings
from launcher.ssh.wire import Wire

if TYPE_CHECKING:
    from paramiko.channel import Channel

    from launcher.ssh.transport import HostTransport

_REFUSED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)


_Got = TypeVar("_Got")


class Jump(Protocol):
    """A connection that others go through."""

    def open_tcp(self, host: str, port: int, timeout_s: float) -> "Channel": ...


def dial(
    settings: Settings, keys: Keys, pacing: Pacing, jump: Jump | None, unreachable_s: float
) -> "HostTransport":
    """Return a transport to a host, logged in.

    unreachable_s: after how long a host is given up: its silence is noticed before.

    Raises:
        HostError: that names the host and what to do.
    """

    def attempt() -> "HostTransport":
        transport = greet(settings, pacing, jump, check=_check_key)
        try:
            log_in(transport, settings, keys)
        except DroppedInLogin as error:
            transport.close()
            raise Dropped(str(error)) from None
        except BaseException:
            transport.close()
            raise
        return transport

    def in_turn() -> "HostTransport":
        with pacing.turn(_endpoint(settings)):
            return attempt()

    transport = _patiently(in_turn, settings)
    transport.keep_alive(unreachable_s)
    return transport


def shown_key(settings: Settings, pacing: Pacing, jump: Jump | None) -> HostKey:
    """Return the key that a host shows, without logging in. Raises HostError."""

    def in_turn() -> HostKey:
        with pacing.turn(_endpoint(settings)):
            transport = greet(settings, pacing, jump, check=lambda _settings, _key: None)
            try:
                return _key_of(transport)
            finally:
                transport.close()

    return _patiently(in_turn, settings)


def greet(
    settings: Settings,
    pacing: Pacing,
    jump: Jump | None,
    check: Callable[[Settings, HostKey], None],
) -> "HostTransport":
    """Return a transport that has agreed on keys, with a host whose own key passed `check`.

    Raises:
        Dropped: it may do better later.
        HostError: it will not.
    """
    from paramiko import SSHException
    from paramiko.ssh_exception import IncompatiblePeer

    from launcher.ssh.transport import HostTransport

    known = host_keys.entries(settings.known_hosts, settings.known_as)
    wire = _wire(settings, jump)
    transport = HostTransport(wire, host_keys.key_types(known))
    try:
        transport.start_client(timeout=settings.connect_timeout_s)
        check(settings, _key_of(transport))
    except IncompatiblePeer as error:
        transport.close()
        raise HostError(f"{_who(settings)}: no common way to encrypt: {error}") from None
    except (SSHException, OSError, EOFError) as error:
        transport.close()
        wire.close()
        raise Dropped(_greeting_problem(error)) from None
    except BaseException:
        transport.close()
        raise
    return transport


def _patiently(attempt: Callable[[], _Got], settings: Settings) -> _Got:
    try:
        return persist(attempt, settings.connect_timeout_s)
    except Dropped as dropped:
        raise HostError(f"{_who(settings)}: {dropped}") from None


def _check_key(settings: Settings, key: HostKey) -> None:
    known = host_keys.entries(settings.known_hosts, settings.known_as)
    problem = host_keys.refusal(known, key, settings.target.name, settings.known_as)
    if problem:
        raise HostError(problem)


def _key_of(transport: "HostTransport") -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _who(settings: Settings) -> str:
    route = settings.route
    through = f" through {route.jump.target.host}" if route.jump else ""
    where = (
        route.host
        if settings.target.name == route.host
        else f"{settings.target.name} ({route.host})"
    )
    return f"host {where} port {route.port}{through}"


def _endpoint(settings: Settings) -> object:
    route = settings.route
    return (route.host, route.port, route.proxy_command, route.jump and _endpoint(route.jump))


def _greeting_problem(error: BaseException) -> str:
    text = str(error)
    if "banner" in text or isinstance(error, EOFError) or "Negotiation" in text:
        return (
            "no SSH server answers there, or one that drops connections (its MaxStartups, a "
            "firewall, fail2ban); see its log"
        )
    return text or "the connection broke off"


# wires


def _wire(settings: Settings, jump: Jump | None) -> Wire:
    route = settings.route
    if jump is not None:
        channel = jump.open_tcp(route.host, route.port, settings.connect_timeout_s)
        return Wire(channel, channel.close)
    if route.proxy_command:
        return _command_wire(route.proxy_command)
    return _tcp_wire(route, settings)


def _tcp_wire(route: Route, settings: Settings) -> Wire:
    host: Any = route.host
    if host.isascii():  # of bytes no codec is imported, while this machine has enough to import
        host = host.encode()
    try:
        tcp = socket.create_connection((host, route.port), settings.connect_timeout_s)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise Dropped(f"the name {route.host} cannot be resolved now") from None
        raise HostError(
            f"host {settings.target.name}: there is no machine named {route.host}; correct the "
            f"address in cluster.yaml (hosts.{settings.target.name}) or HostName in ~/.ssh/config"
        ) from None
    except TimeoutError:
        raise HostError(
            f"{_who(settings)} does not answer within {settings.connect_timeout_s:g} s; is the "
            "machine up, and does a firewall let SSH through?"
        ) from None
    except OSError as error:
        refused = error.errno in _REFUSED
        remedy = "; is sshd running there, and is the port right?" if refused else ""
        raise Dropped(f"{error.strerror or error}{remedy}", is_refusal=refused) from None
    except UnicodeError:
        raise HostError(f"host {settings.target.name}: {route.host!r} is no host name") from None
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close() -> None:
        # A thread that reads would sleep through a close.
        with contextlib.suppress(OSError):
            tcp.shutdown(socket.SHUT_RDWR)
        tcp.close()

    return Wire(tcp, close)


def _command_wire(command: str) -> Wire:
    """Return the standard streams of a proxy command, which a shell runs as OpenSSH has it."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close() -> None:
        with contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()

    return Wire(ours, close)
