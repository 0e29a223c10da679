"""One connection a host: sockets, commands, loss."""

import http.client
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.ssh import Connections, SocketLike, Target, wire
from tests.ssh.conftest import MakeSshd
from tests.ssh.servers import Client, Relay, Sshd, wait_for


class Http(http.client.HTTPConnection):
    """HTTP over a stream of a connection."""

    def __init__(self, stream: SocketLike) -> None:
        super().__init__("engine")
        self.sock = stream


def get(stream: SocketLike, path: str) -> bytes:
    connection = Http(stream)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def test_run_returns_code_and_both_outputs(connections: Connections, target: Target) -> None:
    """A command's exit code, output and errors come back; its input goes in whole."""
    connection = connections.of(target)
    assert connection.run("echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    sent = os.urandom(3_000_000)
    assert connection.run("cat", stdin=sent).stdout == sent
    assert connection.run("wc -c >&2; exit 1", stdin=sent) == (1, b"", b"3000000\n")
    assert connection.run("kill -KILL $$").code == -1


def test_run_has_a_limit(connections: Connections, target: Target) -> None:
    """A command that does not end is given up, naming the host and the command."""
    with pytest.raises(HostError, match=r"gpu1: `sleep 60` did not end within 0.3 s"):
        connections.of(target).run("sleep 60", timeout_s=0.3)


def test_more_commands_than_sessions(connections: Connections, target: Target, sshd: Sshd) -> None:
    """Forty commands at once pass through sshd's ten sessions, over one connection."""
    connection = connections.of(target)
    with ThreadPoolExecutor(40) as pool:
        codes = list(pool.map(lambda i: connection.run(f"exit {i}").code, range(40)))
    assert codes == list(range(40))
    assert sshd.logins() == 1


def test_http_through_a_socket(
    connections: Connections, target: Target, engine: Path, sshd: Sshd
) -> None:
    """Fifty HTTP streams at once, more than sshd has sessions, are whole over one connection."""
    connection = connections.of(target)
    with ThreadPoolExecutor(50) as pool:
        bodies = list(
            pool.map(
                lambda i: get(connection.open_socket(str(engine)), f"/bytes/{100_000 + i}"),
                range(50),
            )
        )
    assert [len(body) for body in bodies] == [100_000 + i for i in range(50)]
    assert sshd.logins() == 1


def test_upload_through_a_socket(connections: Connections, target: Target, engine: Path) -> None:
    """More than any window holds goes up whole."""
    http_connection = Http(connections.of(target).open_socket(str(engine)))
    http_connection.request("POST", "/", body=b"x" * 30_000_000)
    assert http_connection.getresponse().read() == b"30000000"
    http_connection.close()


def test_stream_times_out_as_sockets_do(
    connections: Connections, target: Target, engine: Path
) -> None:
    """A timeout is a TimeoutError, and the stream goes on after it."""
    stream = connections.of(target).open_socket(str(engine))
    stream.settimeout(0.05)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    stream.settimeout(10)
    stream.sendall(b"GET /bytes/10 HTTP/1.0\r\n\r\n")
    stream.shutdown(socket.SHUT_WR)
    file = stream.makefile("rb")
    stream.close()  # the file keeps it open, as http.client expects
    assert file.read().endswith(b"x" * 10)
    file.close()


def test_lost_connection_is_an_error_and_then_made_anew(
    connections: Connections, target: Target, engine: Path, sshd: Sshd
) -> None:
    """A dropped connection ends streams with an OSError, never as if they were whole."""
    connection = connections.of(target)
    stream = connection.open_socket(str(engine))
    assert connection.is_alive
    sshd.drop_connections()
    with pytest.raises(ConnectionResetError, match="gpu1 was lost"):
        stream.recv(1)
    with pytest.raises(OSError, match=r"gpu1 was lost|closed"):
        stream.sendall(b"x")
    stream.close()
    wait_for(lambda: not connection.is_alive, "the loss is seen")
    assert get(connection.open_socket(str(engine)), "/bytes/5") == b"xxxxx"
    assert sshd.logins() == 2


def test_lost_while_a_command_runs(connections: Connections, target: Target, sshd: Sshd) -> None:
    """A command whose connection is lost is a host's failure, not an exit code."""
    connection = connections.of(target)
    connection.connect()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(connection.run, "echo on; sleep 60")
        wait_for(lambda: "Starting session" in sshd.log.read_text(), "the command runs")
        sshd.drop_connections()
        with pytest.raises(HostError, match="gpu1: `echo on; sleep 60` could not be run"):
            running.result()


def test_silently_cut_network_is_seen(
    connections: Connections, client: Client, sshd: Sshd, engine: Path,
    make_relay: Callable[[Sshd], Relay], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A network that is cut without a word ends streams with an error, in the time promised."""
    assert wire._QUIET_S + wire.SILENT_S + wire._TICK_S <= 15
    monkeypatch.setattr(wire, "_QUIET_S", 0.2)
    monkeypatch.setattr(wire, "SILENT_S", 0.6)
    monkeypatch.setattr(wire, "_TICK_S", 0.1)
    relay = make_relay(sshd)
    client.trust(f"[127.0.0.1]:{relay.port}", sshd.keys[0])
    connection = connections.of(Target("gpu1", "127.0.0.1", port=relay.port))
    stream = connection.open_socket(str(engine))
    stream.settimeout(1.5)
    with pytest.raises(TimeoutError):  # it answers, however long it is quiet
        stream.recv(1)
    assert connection.is_alive
    relay.cut()
    stream.settimeout(10)
    began_at = time.monotonic()
    with pytest.raises(ConnectionResetError):
        stream.recv(1)
    assert time.monotonic() - began_at < 3
    assert not connection.is_alive


def test_one_connection_for_all_threads(
    connections: Connections, target: Target, sshd: Sshd
) -> None:
    """However many threads use a host first, it is connected to once."""
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: connections.of(target).connect(), range(20)))
    assert sshd.logins() == 1
    assert connections.of(target) is connections.of(Target(*target))


def test_closed_is_closed(connections: Connections, target: Target) -> None:
    """After close nothing is connected again, and no thread is left."""
    connection = connections.of(target)
    connection.connect()
    connections.close()
    with pytest.raises(HostError, match="gpu1: the connection was closed"):
        connection.run("true")
    wait_for(
        lambda: not any("HostTransport" in type(t).__name__ for t in threading.enumerate()),
        "the transport's thread ends",
    )


def test_keys_are_made_anew_under_load(
    connections: Connections, target: Target, engine: Path
) -> None:
    """A stream stays whole while both ends agree on new keys."""
    connection = connections.of(target)
    stream = connection.open_socket(str(engine))
    with ThreadPoolExecutor(1) as pool:
        body = pool.submit(get, stream, "/bytes/60000000")
        for _ in range(3):
            connection.transport().renegotiate_keys()
        assert len(body.result()) == 60_000_000


# what a socket's failure is called


def test_missing_socket(connections: Connections, target: Target, tmp_path: Path) -> None:
    """No socket there: Docker is to be started, or docker_socket to be set."""
    with pytest.raises(HostError, match=r"gpu1: there is no .*/none\.sock.*docker_socket"):
        connections.of(target).open_socket(str(tmp_path / "none.sock"))


def test_a_file_is_no_socket(connections: Connections, target: Target, tmp_path: Path) -> None:
    """A wrong path is called wrong."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"/file is no socket; correct docker_socket"):
        connections.of(target).open_socket(str(tmp_path / "file"))


def test_forbidden_forwarding_is_named(
    connections: Connections, make_sshd: MakeSshd, client: Client, engine: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Where sshd forbids it and there is no docker command, the setting is named."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "id", "dirname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    sshd = make_sshd("AllowStreamLocalForwarding no", env=f"PATH={programs}")
    client.trust(sshd.known_as, sshd.keys[0])
    with pytest.raises(HostError, match=r"gpu1: its sshd does not forward .*LocalForwarding"):
        connections.of(Target("gpu1", sshd.address, port=sshd.port)).open_socket(str(engine))


def test_dials_by_dockers_own_command(
    connections: Connections, make_sshd: MakeSshd, client: Client, engine: Path
) -> None:
    """Where sshd forbids forwarding, streams go through `docker system dial-stdio`, 6 at once."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command")
    sshd = make_sshd("AllowStreamLocalForwarding no")
    client.trust(sshd.known_as, sshd.keys[0])
    connection = connections.of(Target("gpu1", sshd.address, port=sshd.port))
    with ThreadPoolExecutor(12) as pool:
        bodies = list(
            pool.map(lambda _: get(connection.open_socket(str(engine)), "/bytes/100000"), range(12))
        )
    assert [len(body) for body in bodies] == [100_000] * 12
    assert connection.run("true").code == 0
