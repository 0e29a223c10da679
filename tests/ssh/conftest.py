"""A real sshd, a client's home, and connections that are closed afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.ssh import Connections, Target
from tests.ssh import servers
from tests.ssh.servers import Client, Relay, Sshd

MakeSshd = Callable[..., Sshd]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    if not servers.is_there():
        pytest.skip("openssh-server is not installed")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Client(tmp_path / "home")
    monkeypatch.setenv("HOME", str(made.home))
    return made


@pytest.fixture
def make_sshd(tmp_path: Path, client: Client) -> Iterator[MakeSshd]:
    made: list[Sshd] = []

    def make(*settings: str, **options: object) -> Sshd:
        folder = tmp_path / f"sshd{len(made)}"
        made.append(Sshd(folder, client, *settings, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sshd in made:
        sshd.stop()


@pytest.fixture
def sshd(make_sshd: MakeSshd, client: Client) -> Sshd:
    """An sshd that the client knows."""
    made = make_sshd()
    client.trust(made.known_as, made.keys[0])
    return made


@pytest.fixture
def connections(client: Client) -> Iterator[Connections]:
    made = Connections(home=client.home)
    yield made
    made.close()


@pytest.fixture
def target(sshd: Sshd) -> Target:
    return Target("gpu1", sshd.address, port=sshd.port)


@pytest.fixture
def make_relay() -> Iterator[Callable[[Sshd], Relay]]:
    made: list[Relay] = []

    def make(sshd: Sshd) -> Relay:
        made.append(Relay((sshd.address, sshd.port)))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """A socket with an HTTP server, standing for Docker's."""
    with servers.http_on(tmp_path / "docker.sock") as path:
        yield path
