"""Host keys, logins, jumps and proxy commands, against a real sshd."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.ssh import Connections, Target
from launcher.ssh.pacing import Dropped
from tests.ssh import servers
from tests.ssh.conftest import MakeSshd
from tests.ssh.servers import Client, Sshd, new_key, wait_for


def reach(sshd: Sshd, name: str = "gpu1") -> Target:
    return Target(name, sshd.address, port=sshd.port)


def command_lines() -> str:
    return " ".join(
        Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        for pid in servers.children(os.getpid())
        if os.path.exists(f"/proc/{pid}/cmdline")
    )


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True)
    return shown.stdout.decode().split()[1]


# host keys


def test_unknown_host_is_refused(connections: Connections, make_sshd: MakeSshd) -> None:
    """Type, fingerprint and the command that trusts it are told; nothing is sent to log in."""
    sshd = make_sshd()
    with pytest.raises(HostError) as caught:
        connections.of(reach(sshd)).connect()
    text = str(caught.value)
    assert f"host gpu1: its ssh-ed25519 key {fingerprint(sshd.keys[0])} is not in" in text
    assert "launch hosts trust" in text
    assert "Accepted key" not in sshd.log.read_text()


def test_changed_key_is_refused(
    connections: Connections, client: Client, make_sshd: MakeSshd
) -> None:
    """The stale line is named."""
    sshd = make_sshd()
    client.trust(sshd.known_as, client.key)
    with pytest.raises(HostError, match=r"its host key has changed.*known_hosts:1 holds SHA256"):
        connections.of(reach(sshd)).connect()


def test_revoked_key_is_refused(
    connections: Connections, client: Client, make_sshd: MakeSshd
) -> None:
    """A revoked key is refused although another line trusts it."""
    sshd = make_sshd()
    client.trust(sshd.known_as, sshd.keys[0])
    client.trust("@revoked *", sshd.keys[0])
    with pytest.raises(HostError, match="marks as revoked"):
        connections.of(reach(sshd)).connect()


@pytest.mark.parametrize("known", [0, 1, 2])
def test_known_type_is_asked_for(
    connections: Connections, client: Client, make_sshd: MakeSshd, known: int
) -> None:
    """A host with several keys shows the one that is known, whichever it would show first."""
    sshd = make_sshd(key_kinds=("rsa", "ecdsa", "ed25519"))
    client.trust(sshd.known_as, sshd.keys[known])
    connections.of(reach(sshd)).connect()


# logins


def test_denied_login(connections: Connections, client: Client, make_sshd: MakeSshd) -> None:
    """User, keys tried and remedy are named, and it is not tried again."""
    sshd = make_sshd()
    client.trust(sshd.known_as, sshd.keys[0])
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(HostError) as caught:
        connections.of(reach(sshd)).connect()
    assert f"does not let the user {client.user} in (tried {client.key})" in str(caught.value)
    assert "ssh-copy-id" in str(caught.value)
    assert sshd.log.read_text().count("Failed publickey") == 1


def test_no_key_at_all(connections: Connections, client: Client, sshd: Sshd) -> None:
    """Without a key that is said; a named one that is missing is named."""
    client.key.unlink()
    with pytest.raises(HostError, match="there was no key to try"):
        connections.of(reach(sshd)).connect()
    with pytest.raises(HostError, match="/none does not exist"):
        connections.of(reach(sshd)._replace(identity_file="/none")).connect()


@pytest.fixture
def locked(client: Client) -> Client:
    """A client whose only key has the passphrase `sesame`."""
    command = ["ssh-keygen", "-q", "-p", "-N", "sesame", "-a", "4", "-f", str(client.key)]
    subprocess.run(command, check=True, capture_output=True)
    return client


def test_passphrase_is_asked_for_once(locked: Client, sshd: Sshd) -> None:
    """Twenty logins at once ask once, and once more after a wrong answer."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "sesame" if len(asked) > 1 else "wrong"

    connections = Connections(home=locked.home, ask=ask)
    try:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda i: connections.of(reach(sshd, f"h{i}")).connect(), range(20)))
    finally:
        connections.close()
    again = f"Wrong passphrase. Passphrase for {locked.key}: "
    assert asked == [f"Passphrase for {locked.key}: ", again]


def test_nobody_to_ask(locked: Client, sshd: Sshd, connections: Connections) -> None:
    """Without a terminal the key that stays locked is named with its remedy."""
    with pytest.raises(HostError, match=f"{locked.key} could not be opened: ssh-add {locked.key}"):
        connections.of(reach(sshd)).connect()


@pytest.fixture
def agent(tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

    def answers() -> bool:
        return subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode < 2

    wait_for(answers, "the agent listens")
    yield path
    process.send_signal(signal.SIGTERM)
    process.wait()


def test_agent(
    agent: Path, client: Client, sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    """A key that only the agent holds opens the host; an identity file is signed for by it."""
    subprocess.run(["ssh-add", "-q", str(client.key)], check=True, capture_output=True)
    client.key.rename(tmp_path / "gone")
    connections.of(reach(sshd)).connect()
    client.key.write_text("not the key itself")
    client.configure("Host *\n IdentitiesOnly yes\n")
    only = Connections(home=client.home)
    try:
        only.of(reach(sshd, "again")).connect()
    finally:
        only.close()


def test_too_many_keys(
    agent: Path, client: Client, sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    """An agent full of wrong keys is told as that, with the setting that helps."""
    for i in range(8):
        key = new_key(tmp_path / f"wrong{i}")
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
    with pytest.raises(HostError, match=r"after \d keys .*identity_file"):
        connections.of(reach(sshd)).connect()
    connections.of(reach(sshd)._replace(identity_file=str(client.key))).connect()


def test_key_formats(client: Client, make_sshd: MakeSshd, connections: Connections) -> None:
    """RSA in PEM form and ECDSA keys log in too."""
    sshd = make_sshd()
    client.trust(sshd.known_as, sshd.keys[0])
    with (sshd.folder / "authorized_keys").open("w") as allowed:
        for kind, form in (("rsa", "PEM"), ("ecdsa", "RFC4716")):
            key = client.home / kind
            command = ["ssh-keygen", "-q", "-t", kind, "-m", form, "-N", "", "-f", str(key)]
            subprocess.run(command, check=True)
            allowed.write(Path(f"{key}.pub").read_text())
    for kind in ("rsa", "ecdsa"):
        target = reach(sshd, kind)._replace(identity_file=str(client.home / kind))
        connections.of(target).connect()


# ways to a host


def test_nobody_listens(connections: Connections) -> None:
    """A refused connection is told as that."""
    port = servers.free_port("127.0.0.1")
    with pytest.raises(HostError, match=rf"gpu1 \(127.0.0.1\) port {port}: Connection refused"):
        connections.of(Target("gpu1", "127.0.0.1", port=port)).connect()


def test_no_such_name(connections: Connections) -> None:
    """A name that does not exist is told at once, with the keys to correct."""
    with pytest.raises(HostError, match=r"host gpu1: (there is no machine named|.*resolved)"):
        connections.of(Target("gpu1", "no-such-host.invalid")).connect()


def test_no_ssh_server(client: Client, connections: Connections) -> None:
    """A port where something else drops us is retried up to the limit, then named."""
    import socket
    import threading

    client.configure("Host *\n ConnectTimeout 1\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    listener.accept()[0].close()
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(HostError, match="no SSH server answers there, or one that drops"):
                connections.of(
                    Target("gpu1", "127.0.0.1", port=listener.getsockname()[1])
                ).connect()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_sshd_that_restarts_is_waited_for(connections: Connections, sshd: Sshd) -> None:
    """An sshd that is away for a moment is reached when it is back."""
    sshd.stop()
    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connections.of(reach(sshd)).connect)
        sshd.start()
        connecting.result()


def test_ipv6(connections: Connections, client: Client, make_sshd: MakeSshd) -> None:
    """An IPv6 address is reached and known by its bracketed name."""
    if (
        not os.path.exists("/proc/net/if_inet6")
        or "00000001 01" not in Path("/proc/net/if_inet6").read_text()
    ):
        pytest.skip("there is no IPv6 loopback here")
    sshd = make_sshd(address="::1")
    client.trust(sshd.known_as, sshd.keys[0])
    connections.of(reach(sshd)).connect()


def test_two_hosts_behind_one_address(
    connections: Connections, client: Client, make_sshd: MakeSshd
) -> None:
    """Ports tell hosts and their keys apart."""
    one, two = make_sshd(), make_sshd()
    client.trust(one.known_as, one.keys[0])
    client.trust(two.known_as, two.keys[0])
    connections.of(reach(one, "one")).connect()
    connections.of(reach(two, "two")).connect()
    assert (one.logins(), two.logins()) == (1, 1)


def test_jumps_are_shared(
    connections: Connections, client: Client, make_sshd: MakeSshd, engine: Path
) -> None:
    """Two jumps in a row, two hosts behind them: one connection each, and all of it works."""
    first, second, one, two = (make_sshd() for _ in range(4))
    for each in (first, second, one, two):
        client.trust(each.known_as, each.keys[0])
    client.configure(
        f"Host first\n HostName 127.0.0.1\n Port {first.port}\n"
        f"Host second\n HostName 127.0.0.1\n Port {second.port}\n"
        f"Host one\n HostName 127.0.0.1\n Port {one.port}\n ProxyJump first,second\n"
        f"Host two\n HostName 127.0.0.1\n Port {two.port}\n ProxyJump first,second\n"
    )
    targets = [Target("one", "one"), Target("two", "two"), Target("first", "first")]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda target: connections.of(target).connect(), targets))
    connections.of(Target("late", "first")).connect()
    connections.of(targets[0]).open_socket(str(engine)).close()
    assert connections.of(targets[1]).run("echo $SSH_CONNECTION").code == 0
    assert [each.logins() for each in (first, second, one, two)] == [1, 1, 1, 1]


def test_jump_that_forbids(connections: Connections, client: Client, make_sshd: MakeSshd) -> None:
    """A jump host that does not forward is named with the setting."""
    jump = make_sshd("AllowTcpForwarding no")
    client.trust(jump.known_as, jump.keys[0])
    client.configure(
        f"Host bastion\n HostName 127.0.0.1\n Port {jump.port}\nHost gpu1\n ProxyJump bastion\n"
    )
    with pytest.raises(HostError, match=r"host bastion: it may not be used .*AllowTcpForwarding"):
        connections.of(Target("gpu1", "gpu1")).connect()


def test_host_behind_a_jump_is_down(connections: Connections, client: Client, sshd: Sshd) -> None:
    """The host and the jump that cannot reach it are both named."""
    client.configure(
        f"Host bastion\n HostName 127.0.0.1\n Port {sshd.port}\n"
        f"Host gpu1\n HostName 127.0.0.1\n Port {servers.free_port('127.0.0.1')}\n"
        " ProxyJump bastion\n"
    )
    with pytest.raises(HostError, match=r"gpu1 .* through bastion: bastion cannot reach it"):
        connections.of(Target("gpu1", "gpu1")).connect()


def test_unknown_jump_is_refused(
    connections: Connections, client: Client, make_sshd: MakeSshd
) -> None:
    """A jump's key is verified as any other."""
    jump = make_sshd()
    client.configure(
        f"Host bastion\n HostName 127.0.0.1\n Port {jump.port}\nHost gpu1\n ProxyJump bastion\n"
    )
    with pytest.raises(HostError, match=r"host bastion: its ssh-ed25519 key"):
        connections.of(Target("gpu1", "gpu1")).connect()


def test_proxy_command(connections: Connections, client: Client, sshd: Sshd) -> None:
    """A proxy command carries the connection, and ends with it."""
    relay = client.home / "relay.py"
    relay.write_text(
        "import select, socket, sys, os\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    for r in select.select([0, s], [], [])[0]:\n"
        "        d = os.read(0, 65536) if r == 0 else s.recv(65536)\n"
        "        if not d: sys.exit()\n"
        "        (s.sendall(d) if r == 0 else os.write(1, d))\n"
    )
    client.configure(
        f"Host gpu1\n HostName 127.0.0.1\n Port {sshd.port}\n ProxyCommand python3 {relay} %h %p\n"
    )
    connections.of(Target("gpu1", "gpu1")).connect()
    assert connections.of(Target("gpu1", "gpu1")).run("echo hi").stdout == b"hi\n"
    connections.close()
    wait_for(lambda: str(relay) not in command_lines(), "the command ends")


def test_proxy_command_that_fails(connections: Connections, client: Client) -> None:
    """A proxy command that ends at once is a failure of that host."""
    client.configure("Host gpu1\n ProxyCommand false\n ConnectTimeout 1\n")
    with pytest.raises(HostError, match="host gpu1"):
        connections.of(Target("gpu1", "gpu1")).connect()


def test_dropped_is_not_shown_to_users() -> None:
    """What is tried again is no error of the launcher's tree: it must not leave the package."""
    assert not issubclass(Dropped, HostError)
