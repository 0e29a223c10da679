"""Which cells run, what they run on, and the table of those that ran."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.building.places import REPOSITORY, TENSORFLOW
from tests.chaos import world
from tests.chaos.cells import cells, senseless
from tests.chaos.table import Row, written
from tests.conftest import Launching
from tests.testbed import Testbed
from tests.testbed.python_image import give_python, take_python

_ROW = "row of the chaos matrix"
_ROWS: list[Row] = []
IMAGE = "mnist_dist"
_BUILT_S = 300.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cells that are not of the quick subset, unless `-m` speaks of them."""
    if "chaos" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("chaos")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take in the rows of a cell that has ended: in the process that hears of all of them.

    Where cells run in several processes, their reports are what reaches the first one.
    """
    if report.when == "teardown":
        _ROWS.extend(
            Row.parse(str(value)) for name, value in report.user_properties if name == _ROW
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table where $LAUNCH_CHAOS_TABLE says."""
    path, is_first = (
        os.environ.get("LAUNCH_CHAOS_TABLE"),
        not hasattr(session.config, "workerinput"),
    )
    if path and _ROWS and is_first:
        Path(path).write_text(written(_ROWS, (cell for cell in cells() if senseless(cell))))


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """The rows of the cell that is tried."""
    found: list[Row] = []
    yield found
    request.node.user_properties.extend((_ROW, row.as_text()) for row in found)


@pytest.fixture(scope="session")
def python_bed(testbed: Testbed) -> Iterator[Testbed]:
    """The testbed with a small image that holds a Python."""
    give_python(testbed)
    yield testbed
    testbed.recover()
    take_python(testbed)


@pytest.fixture
def user(
    launching: Launching, python_bed: Testbed, tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Launching:  # fmt: skip
    """Starts `launch` as a user who has this machine's Docker, and a key for the hosts."""
    launching.env.update(python_bed.environ(tmp_path / "home"))
    config = tmp_path / "home/.ssh/config"
    config.write_text(f"{config.read_text()}Host *\n  ConnectTimeout 2\n")
    cache = tmp_path_factory.getbasetemp() / "chaos-cache"  # hosts that reach each other once do
    launching.env["XDG_CACHE_HOME"] = str(cache)
    return launching


@pytest.fixture
def shared(python_bed: Testbed) -> Iterator[None]:
    """A folder of the first host; empty ones of that name on the others."""
    try:
        for host in python_bed.hosts[: world.HOSTS]:
            host.exec("install", "-d", "-m", "1777", world.SHARED)
        yield
    finally:
        python_bed.recover()
        for host in python_bed.hosts[: world.HOSTS]:
            host.exec("rm", "-rf", world.SHARED)


@pytest.fixture(scope="session")
def tensorflow_image(
    tensorflow_testbed: Testbed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The image that trains, on this machine's engine, as `launch build` makes it."""
    base = ("--build-arg", f"BASE_IMAGE={TENSORFLOW}", "--network", "host")
    command = [sys.executable, "-m", "launcher", "build", "-t", IMAGE, *base, str(REPOSITORY)]
    before = tensorflow_testbed.local.holdings()
    env = tensorflow_testbed.environ(tmp_path_factory.mktemp("home"))
    try:
        subprocess.run(command, env=env, check=True, timeout=_BUILT_S, capture_output=True)
        yield IMAGE
    finally:
        tensorflow_testbed.local.remove_since(before)
