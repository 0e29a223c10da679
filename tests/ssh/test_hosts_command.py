"""`launch hosts` and `launch hosts trust`, against a real sshd."""

import io
import json
from pathlib import Path

import pytest

from launcher.cli import hosts
from launcher.errors import HostError, InputError
from tests.ssh.conftest import MakeSshd
from tests.ssh.servers import Client, Sshd


class Terminal(io.StringIO):
    """A user who answers."""

    def isatty(self) -> bool:
        return True


def cluster(tmp_path: Path, **sshds: Sshd) -> list[str]:
    """Write a cluster.yaml with these hosts; return the option that names it."""
    file = tmp_path / "cluster.yaml"
    lines = [
        f"  {name}: {{address: {sshd.address}, ssh: {{port: {sshd.port}}}}}"
        for name, sshd in sshds.items()
    ]
    text = "\n".join(["image: i", "hosts:", *lines, "tasks: {chief: {host: gpu1}}", ""])
    file.write_text(text)
    return ["--cluster", str(file)]


def test_trust_shows_asks_and_adds(
    tmp_path: Path, client: Client, make_sshd: MakeSshd, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A yes adds that key alone, in a file of mode 0600; a no is exit code 1."""
    one, two = make_sshd(), make_sshd(address="127.0.0.2")
    client.configure("HashKnownHosts no\n")
    option = cluster(tmp_path, gpu1=one, gpu2=two)
    monkeypatch.setattr("sys.stdin", Terminal("y\nn\n"))
    assert hosts.main(["trust", *option]) == 1
    shown = capsys.readouterr().out
    assert shown.count("SHA256:") == 2
    assert [line.split()[0] for line in client.known_hosts.read_text().splitlines()] == [
        one.known_as
    ]
    assert client.known_hosts.stat().st_mode & 0o777 == 0o600
    assert hosts.main(["list", "gpu1", *option]) == 0
    assert "gpu1  127.0.0.1  ready" in capsys.readouterr().out
    with pytest.raises(HostError, match="gpu2: its ssh-ed25519 key"):
        hosts.main(option)
    capsys.readouterr()
    assert hosts.main(["--json", *option]) == 3
    first, second = json.loads(capsys.readouterr().out)["hosts"]
    assert (first["state"], first["problem"]) == ("ready", None)
    assert second["state"] == "no login" and "SHA256:" in second["problem"]


def test_trust_without_asking(tmp_path: Path, client: Client, make_sshd: MakeSshd) -> None:
    """`--yes` trusts what is new; without a terminal it is the only way."""
    option = cluster(tmp_path, gpu1=make_sshd())
    with pytest.raises(InputError, match="--yes"):
        hosts.main(["trust", *option])
    assert hosts.main(["trust", "--yes", "gpu1", *option]) == 0
    assert hosts.main(["trust", "--yes", "gpu1", *option]) == 0
    assert len(client.known_hosts.read_text().splitlines()) == 1


def test_changed_key_is_never_replaced(tmp_path: Path, client: Client, make_sshd: MakeSshd) -> None:
    """Even `--yes` leaves a changed key to the user, who is told how to forget it."""
    sshd = make_sshd()
    client.trust(sshd.known_as, client.key)
    before = client.known_hosts.read_text()
    with pytest.raises(HostError, match="ssh-keygen -f"):
        hosts.main(["trust", "--yes", *cluster(tmp_path, gpu1=sshd)])
    assert client.known_hosts.read_text() == before


def test_trust_through_a_jump(tmp_path: Path, client: Client, make_sshd: MakeSshd) -> None:
    """The jump host's key is trusted first, then that of the host behind it."""
    jump, sshd = make_sshd(), make_sshd()
    client.configure(
        f"HashKnownHosts no\nHost bastion\n HostName 127.0.0.1\n Port {jump.port}\n"
        f"Match host 127.0.0.1 originalhost 127.0.0.1\n ProxyJump bastion\n"
    )
    assert hosts.main(["trust", "--yes", *cluster(tmp_path, gpu1=sshd)]) == 0
    names = [line.split()[0] for line in client.known_hosts.read_text().splitlines()]
    assert names == [jump.known_as, sshd.known_as]


def test_unknown_host(tmp_path: Path, client: Client, make_sshd: MakeSshd) -> None:
    """A name that the file lacks is an error of the command line."""
    with pytest.raises(InputError, match=r"gpu3: no host of .*did you mean 'gpu1'"):
        hosts.main(["trust", "--yes", "gpu3", *cluster(tmp_path, gpu1=make_sshd())])
