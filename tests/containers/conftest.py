"""What tests of containers ask their engines."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Launching
from tests.testbed import Testbed
from tests.testbed.engine import Engine


class Engines:
    """The engines of a test's run, asked past the launcher; each knows what was there before."""

    def __init__(self, engines: tuple[Engine, ...]) -> None:
        self._engines = engines
        self._before = [engine.holdings() for engine in engines]

    def running(self) -> list[str]:
        """Return the names of the containers that run."""
        return [each["Names"][0] for e in self._engines for each in _containers(e, "")]

    def inspected(self) -> str:
        """Return all that the engines tell of their containers."""
        return "".join(
            json.dumps(engine.request("GET", f"/containers/{each['Id']}/json"))
            for engine in self._engines
            for each in _containers(engine, "?all=1")
        )

    def left(self) -> list[str]:
        """Return what has come since the test began: containers, volumes, networks.

        Synced data is meant to stay, and is not among it.
        """
        found: list[str] = []
        for engine, before in zip(self._engines, self._before, strict=True):
            now = engine.holdings()
            found += now.containers - before.containers
            volumes = now.volumes - before.volumes
            found += (name for name in volumes if not name.startswith("launch-data-"))
            found += now.networks - before.networks
        return found

    def data_volumes(self) -> list[str]:
        """Return the volumes that hold synced data."""
        names = {name for engine in self._engines for name in engine.holdings().volumes}
        return sorted(name for name in names if name.startswith("launch-data-"))


def _containers(engine: Engine, query: str) -> list[dict[str, list[str]]]:
    answer = engine.request("GET", f"/containers/json{query}")
    return list(answer) if isinstance(answer, list) else []


@pytest.fixture
def user(launching: Launching, testbed: Testbed, tmp_path: Path) -> Launching:
    """Starts `launch` as a user who has this machine's Docker, and a key for the hosts."""
    launching.env.update(testbed.environ(tmp_path / "home"))
    launching.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return launching


@pytest.fixture
def local(user: Launching, testbed: Testbed) -> Iterator[Engines]:
    """This machine's engine."""
    yield Engines((testbed.local,))


@pytest.fixture
def remote(user: Launching, testbed: Testbed) -> Iterator[Engines]:
    """The hosts' engines."""
    yield Engines(tuple(host.engine for host in testbed.hosts))
