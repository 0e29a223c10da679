"""Engines of testbed hosts as a launcher reaches them: one SSH connection each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from launcher.engine import Engine
from launcher.ssh import Connections, Target
from tests.testbed import Testbed

BUSYBOX = "launch-testbed/busybox:1"


class Remote(NamedTuple):
    """A testbed host's engine, and containers on it."""

    engine: Engine

    def container(self, script: str = "true", *, user: str = "", volume: str = "") -> str:
        """Create a container with a volume at /data/output; it runs a shell script if started."""
        mount = {"Type": "volume", "Target": "/data/output", "Source": volume}
        config = {
            "Image": BUSYBOX,
            "Cmd": ["sh", "-c", script],
            "User": user,
            "WorkingDir": "/data",
            "HostConfig": {"NetworkMode": "none", "Mounts": [mount]},
        }
        made: Mapping[str, Any] = self.engine.api.create_container_from_config(config)
        return str(made["Id"])

    def run(self, container_id: str) -> str:
        """Start a container and return all that it printed."""
        self.engine.api.start(container_id)
        self.engine.api.wait(container_id)
        logs: bytes = self.engine.api.logs(container_id)
        return logs.decode()


@pytest.fixture
def connections(testbed: Testbed, tmp_path: Path) -> Iterator[Connections]:
    """SSH connections of a user whose ~/.ssh names the testbed's hosts."""
    home = tmp_path / "home"
    testbed.environ(home)
    made = Connections(home=home)
    yield made
    made.close()


@pytest.fixture
def remotes(testbed: Testbed, connections: Connections) -> Iterator[list[Remote]]:
    """Every host of the testbed."""
    engines = [
        Engine(host.name, connections.of(Target(host.name, host.name)).open_socket)
        for host in testbed.hosts
    ]
    yield [Remote(engine) for engine in engines]
    for engine in engines:
        engine.close()


@pytest.fixture
def remote(remotes: list[Remote]) -> Remote:
    """One host of the testbed."""
    return remotes[0]
