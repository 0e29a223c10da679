"""The image of mnist.Dockerfile, built on the testbed's TensorFlow without a network."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from launcher.building import request
from launcher.building.build import Built, build
from launcher.engine import Engine, open_local
from tests.building.places import REPOSITORY, TENSORFLOW
from tests.testbed import Testbed

pytestmark = [pytest.mark.testbed, pytest.mark.tensorflow]
NAME = "launch-test/mnist"
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
PLATFORM = ("--work_dir=/data", "--data_dir=/data/data", "--output_dir=/data/output",
            "--num_gpus=0")  # fmt: skip
SHORT = ("--epochs=1", "--max_step=5")
OLD_FORM = {
    "cluster": {"master": ["127.0.0.1:2222"]},
    "task": {"type": "master", "index": 0},
    "environment": "cloud",
}


class Ended(NamedTuple):
    """A container that has ended."""

    code: int
    out: str


class Image(NamedTuple):
    """The image, on an engine that can run it."""

    engine: Engine
    built: Built

    def run(self, *argv: str, user: str = "", **environment: str) -> Ended:
        """Return what became of a container of this image; it is removed."""
        api = self.engine.api
        made = api.create_container(
            self.built.id, list(argv) or None, user=user or None, environment=environment,
            host_config=api.create_host_config(network_mode="none", init=True),
        )  # fmt: skip
        try:
            api.start(made["Id"])
            code = api.wait(made["Id"])["StatusCode"]
            return Ended(code, api.logs(made["Id"]).decode())
        finally:
            api.remove_container(made["Id"], force=True, v=True)


def _asked(folder: Path) -> request.Request:
    args = [f"BASE_IMAGE={TENSORFLOW}"]
    return request.read(str(folder), None, NAME, args, {})._replace(network="none")


@pytest.fixture(scope="module")
def image(tensorflow_testbed: Testbed) -> Iterator[Image]:
    """The image as `launch build` makes it."""
    engine = Engine("this machine", open_local, str(tensorflow_testbed.local.docker_socket))
    try:
        built = build(engine, _asked(REPOSITORY), NOW, lambda _: None)
        yield Image(engine, built)
    finally:
        for tag in ("20260203_040506", "latest"):
            if engine.api.images(f"{NAME}:{tag}"):
                engine.api.remove_image(f"{NAME}:{tag}", force=True)
        engine.close()


def test_what_it_is_made_of(image: Image) -> None:
    """It is small on top of its base, says what it is, and runs as nobody in particular."""
    facts = image.engine.api.inspect_image(image.built.id)
    base = image.engine.api.inspect_image(TENSORFLOW)
    assert facts["Size"] - base["Size"] < 4 << 20
    assert facts["RootFS"]["Layers"][: len(base["RootFS"]["Layers"])] == base["RootFS"]["Layers"]
    config = facts["Config"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/data"
    assert config["Entrypoint"] == ["launch", "exec", "--"]
    assert config["Labels"]["org.opencontainers.image.base.name"] == TENSORFLOW
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_alone(image: Image) -> None:
    """mnist_single trains in it, as the image's own user."""
    ended = image.run("python", "/data/mnist_single.py", *SHORT)
    assert ended.code == 0, ended.out
    assert "accuracy=" in ended.out


def test_on_a_platform(image: Image) -> None:
    """A platform's old TF_CONFIG is put into chief form, said so, and mnist_dist trains."""
    argv = ("python", "/data/mnist_dist.py", *PLATFORM, *SHORT)
    ended = image.run(*argv, TF_CONFIG=json.dumps(OLD_FORM))
    assert ended.code == 0, ended.out
    assert "cluster.master is now chief" in ended.out
    assert "accuracy=" in ended.out


def test_its_own_command(image: Image) -> None:
    """Without a command it is mnist_dist, which says what it lacks where there is no cluster."""
    ended = image.run()
    assert ended.code != 0
    assert "TF_CONFIG is not set" in ended.out
    assert "Traceback" not in ended.out


@pytest.mark.parametrize("user", ["4321", "4321:100", "root"])
def test_any_user(image: Image, user: str) -> None:
    """Whoever runs it can write results and a home."""
    code = (
        "import os, pathlib; pathlib.Path('/data/output/logs').mkdir();"
        "pathlib.Path.home().joinpath('.keras').mkdir(); print(os.getuid())"
    )
    ended = image.run("python", "-c", code, user=user)
    assert (ended.code, ended.out.strip()) == (0, "0" if user == "root" else "4321")


def test_run_as_another(image: Image) -> None:
    """A build argument names another user, for a store that only root may write to."""
    asked = _asked(REPOSITORY)
    asked = asked._replace(build_args={**asked.build_args, "RUN_AS": "0:0"})
    built = build(image.engine, asked, NOW, lambda _: None)
    try:
        assert image.engine.api.inspect_image(built.id)["Config"]["User"] == "0:0"
    finally:
        image.engine.api.remove_image(built.id, force=True)


def test_the_launcher_in_it(image: Image) -> None:
    """`launch` is there and can be imported from everywhere; Docker and SSH are not."""
    code = (
        "import importlib.util as u, os; os.chdir('/'); import launcher.strategy;"
        "print([name for name in ('docker', 'paramiko') if u.find_spec(name)])"
    )
    assert image.run("python", "-c", code) == (0, "[]\n")
    assert image.run("/usr/bin/python", "-c", code) == (0, "[]\n")
    assert image.run("launch", "--version").out.startswith("launch ")
    assert image.run("no-such-program").code == 2


def test_a_changed_line_is_one_small_layer(image: Image, tmp_path: Path) -> None:
    """A changed line of a trainer changes the last layer alone, which is small."""
    for part in ("launcher", "trainers"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=ignore)
    for name in ("mnist.Dockerfile", ".dockerignore"):
        shutil.copy(REPOSITORY / name, tmp_path)
    before = build(image.engine, _asked(tmp_path), NOW, lambda _: None)
    with open(tmp_path / "trainers/mnist_dist.py", "a") as trainer:
        trainer.write("# changed\n")
    after = build(image.engine, _asked(tmp_path), NOW, lambda _: None)
    try:
        *same, old = image.engine.api.inspect_image(before.id)["RootFS"]["Layers"]
        *also, new = image.engine.api.inspect_image(after.id)["RootFS"]["Layers"]
        assert same == also
        assert old != new
        changed = next(layer for layer in image.engine.api.history(after.id) if layer["Size"])
        assert changed["Size"] < 100_000
    finally:
        for built in (before, after):
            image.engine.api.remove_image(built.tags[0], force=True)
