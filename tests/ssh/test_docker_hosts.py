"""Connections to real hosts with a real Docker Engine each."""

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.ssh import Connection, Connections, Target
from tests.ssh.test_connection import get
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed
SOCKET = "/var/run/docker.sock"


@pytest.fixture
def connections(testbed: Testbed, tmp_path: Path) -> Iterator[Connections]:
    testbed.environ(tmp_path)
    made = Connections(home=tmp_path)
    yield made
    made.close()


@pytest.fixture
def host(testbed: Testbed, connections: Connections) -> Connection:
    name = testbed.hosts[0].name
    return connections.of(Target(name, name))


def test_docker_answers(host: Connection) -> None:
    """The engine's socket is reached through the connection."""
    assert b'"ApiVersion"' in get(host.open_socket(SOCKET), "/version")


def test_docker_where_forwarding_is_forbidden(testbed: Testbed, host: Connection) -> None:
    """Docker's own relay stands in where sshd forwards to no socket."""
    machine = testbed.hosts[0]
    machine.stop_sshd(machine.ssh_port)
    machine.start_sshd(machine.ssh_port, "AllowStreamLocalForwarding no")
    try:
        for _ in range(3):
            assert b'"ApiVersion"' in get(host.open_socket(SOCKET), "/version")
    finally:
        machine.stop_sshd(machine.ssh_port)
        machine.start_sshd(machine.ssh_port)


def test_user_outside_the_docker_group(testbed: Testbed, connections: Connections) -> None:
    """Who may not use Docker is told how to be let in."""
    name = testbed.hosts[0].name
    outsider = connections.of(Target(name, name, user="outsider"))
    with pytest.raises(HostError, match="sudo usermod -aG docker outsider"):
        outsider.open_socket(SOCKET)


def test_dead_engine(testbed: Testbed, host: Connection) -> None:
    """An engine that was killed is said to be down."""
    testbed.hosts[0].kill_docker()
    with pytest.raises(HostError, match=r"start Docker|no Docker engine answers|start it again"):
        host.open_socket(SOCKET)


def test_cut_network_is_seen(testbed: Testbed, host: Connection) -> None:
    """A cut network ends a silent stream within 16 s, and the host is reached when it is healed."""
    stream = host.open_socket(SOCKET)
    machine = testbed.hosts[0]
    machine.cut()
    began_at = time.monotonic()
    with pytest.raises(ConnectionResetError):
        stream.recv(1)
    assert time.monotonic() - began_at < 16
    machine.heal()
    assert b'"ApiVersion"' in get(host.open_socket(SOCKET), "/version")


def test_one_connection(testbed: Testbed, host: Connection) -> None:
    """Sixteen streams and a command need one connection, counted in sshd's own log."""
    before = testbed.hosts[0].ssh_connections()
    streams = [host.open_socket(SOCKET) for _ in range(16)]
    assert host.run("id -un").stdout == b"ml\n"
    for stream in streams:
        connection = http.client.HTTPConnection("engine")
        connection.sock = stream
        connection.request("GET", "/_ping")
        assert connection.getresponse().read() == b"OK"
        connection.close()
    assert testbed.hosts[0].ssh_connections() - before == 1
