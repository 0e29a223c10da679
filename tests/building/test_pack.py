"""`launch pack`: from a script or a notebook to a job on a platform, by way of an image."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.cli import main
from launcher.engine import Engine
from launcher.notebook import MARK
from tests.building.conftest import Registry
from tests.building.places import BUSYBOX
from tests.conftest import Launching
from tests.platforms.fake_kubernetes import FakeKubernetes, kubeconfig, serving

ON = ("pack", "--platform", "kubernetes")
CLUSTER = "tasks: {chief: {}, worker: {}}\nplatforms: {kubernetes: {output: results}}\n"


@pytest.fixture
def lab(launching: Launching) -> Launching:
    """A folder with a cluster.yaml for Kubernetes and a script with a module."""
    launching.cluster(CLUSTER)
    launching.write("train.py", "import helper\n")
    launching.write("helper.py", "print('help')\n")
    return launching


@pytest.fixture
def fake() -> Iterator[tuple[FakeKubernetes, str]]:
    """A Kubernetes API server that is none, and where it answers."""
    made = FakeKubernetes()
    with serving(made) as address:
        yield made, address


def notebook(source: str) -> str:
    """Return a notebook of one cell."""
    cell: dict[str, object] = {"cell_type": "code", "source": source, "metadata": {}, "id": "a"}
    cell |= {"outputs": [], "execution_count": None}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in objects:
        if each["kind"] == "Job":
            yield from each["spec"]["template"]["spec"]["containers"]


def inside(engine: Engine, image: str, *paths: str) -> str:
    """Return what files of an image hold."""
    engine.api.pull(image)
    container = engine.api.create_container(image, ["cat", *paths])["Id"]
    try:
        engine.api.start(container)
        engine.api.wait(container)
        return bytes(engine.api.logs(container)).decode()
    finally:
        engine.api.remove_container(container, force=True)


@pytest.mark.testbed
def test_from_a_script_to_a_job(
    lab: Launching, engine: Engine, registry: Registry, fake: tuple[FakeKubernetes, str]
) -> None:
    """Built on the file's image, pushed, and sent: the job's image is the registry's digest."""
    kubernetes, address = fake
    registry.log_in()
    (registry.login.parent / "kubeconfig").write_text(kubeconfig(address))
    lab.env |= {
        "DOCKER_HOST": f"unix://{engine.path}",
        "DOCKER_CONFIG": os.fspath(registry.login.parent),
        "KUBECONFIG": os.fspath(registry.login.parent / "kubeconfig"),
    }
    lab.cluster(f"image: {BUSYBOX}\n{CLUSTER}")
    name = f"{registry.address}/lab/mnist"
    shown = lab.run(*ON, "-t", name, "./train.py", "--epochs", "3")
    assert shown.code == 0, shown.err
    images = {each["image"] for each in containers(list(yaml.safe_load_all(shown.out)))}
    (image,) = images
    assert image.startswith(f"{name}@sha256:") and f"launch: {image}\n" in shown.err
    assert "ConfigMap" not in shown.out and not kubernetes.objects
    assert inside(engine, image, "/data/train.py", "/data/helper.py") == (
        "import helper\nprint('help')\n"
    )
    lab.write("nb.ipynb", notebook("%cd x\nprint(1)"))
    words = (f"--tag={name}", "--submit", "--notebook", "nb.ipynb", "--", "--epochs", "3")
    sent = lab.run(*ON, *words)
    assert sent.code == 0, sent.err
    assert "nb.ipynb cell 1: left out: %cd x" in sent.err
    made = list(containers(list(kubernetes.objects.values())))
    assert len(made) == 2 and made[0]["image"].startswith(f"{name}@sha256:")
    assert made[0]["command"] == ["python", "/data/nb.py", "--epochs", "3"]
    assert "print(1)" in inside(engine, made[0]["image"], "/data/nb.py")


@pytest.mark.testbed
def test_a_build_that_fails(lab: Launching, engine: Engine) -> None:
    """Its step and its code are those of `launch build`; nothing is pushed or sent."""
    lab.env["DOCKER_HOST"] = f"unix://{engine.path}"
    lab.write("Dockerfile", f"FROM {BUSYBOX}\nRUN exit 3\n")
    done = lab.run(*ON, "-t", "127.0.0.1:1/lab/x", "--submit", "./train.py")
    assert done.code == 1 and "RUN exit 3" in done.err and not done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-t", "lab/x", "./none.py"], "./none.py: no such script"),
        (["./train.py"], "-t: missing: expected REGISTRY/NAME"),
        (["-t", "mnist", "./train.py"], "mnist names no registry"),
        (["-t", "Lab/X", "./train.py"], "did you mean 'lab/x'?"),
        (["-t", "lab/x", "./train.py"], "Dockerfile: no such file; name the Dockerfile with -f"),
        (
            ["-t", "lab/x", "-f", "F", "--operator", "x", "./train.py"],
            "--operator: expected one of",
        ),
        (["-t", "lab/x", "--notebook", "none.ipynb"], "none.ipynb: cannot be read"),
        (["-t", "lab/x"], "(see launch pack --help)"),
        (["-t", "lab/x", "--wait", "./train.py"], "--wait: expected --submit too"),
        (["-t", "lab/x", "--apply", "--notebook", "n.ipynb"], "--apply: expected --submit too"),
        (["-t", "lab/x", "--context", "/none", "./train.py"], "--context /none: no such folder"),
        (["-t", "lab/x", "--context", "train.py", "./train.py"], "expected a folder, this is a"),
    ],
)
def test_wrong_words(
    lab: Launching,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    """What is wrong is said before any Docker is asked; the code is 2."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///none")
    monkeypatch.chdir(lab.folder)
    assert main([*ON, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_context_must_be_there_for_an_image_alone(
    lab: Launching, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there is told, though the file's image would do without one."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///none")
    monkeypatch.chdir(lab.folder)
    lab.cluster(f"image: lab/base\n{CLUSTER}")
    assert main([*ON, "-t", "reg.lab/lab/x", "--context", "/none", "./train.py"]) == 2
    assert "--context /none: no such folder" in capsys.readouterr().err


def test_an_image_that_would_not_run(
    lab: Launching, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A platform whose settings name another image is refused before anything is built."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///none")
    monkeypatch.chdir(lab.folder)
    lab.write("Dockerfile", "FROM scratch\n")
    lab.cluster(
        "image: lab/base\ntasks: {chief: {}}\n"
        "platforms:\n  slurm: {container: apptainer, image: old.sif}\n"
    )
    assert main(["pack", "--platform", "slurm", "-t", "reg.lab/lab/x", "./train.py"]) == 2
    said = capsys.readouterr().err
    assert "cluster.yaml:4 platforms.slurm.image: expected none" in said and "old.sif" in said


def test_all_that_is_wrong_at_once(lab: Launching) -> None:
    """The trainer, the file, the image's name and its Dockerfile are checked together."""
    lab.cluster("tasks: {chef: {}}\n")
    done = lab.run(*ON, "-t", "lab/X", "./none.py")
    for said in ("./none.py", "tasks.chef", "-t: expected"):
        assert said in done.err
    assert done.code == 2


def test_the_platform_is_asked_before_the_build(lab: Launching) -> None:
    """What the platform cannot express is known before an hour of building."""
    lab.env["DOCKER_HOST"] = "unix:///none"
    lab.write("Dockerfile", "FROM scratch\n")
    lab.cluster(f"{CLUSTER}ulimits: {{memlock: '-1'}}\n")
    done = lab.run(*ON, "-t", "lab/x", "./train.py")
    assert done.code == 2 and "ulimits" in done.err


def test_a_script_of_the_users_own_stays(lab: Launching, tmp_path: Path) -> None:
    """A notebook's script replaces none that it did not make."""
    lab.write("train.ipynb", notebook("1"))
    done = lab.run(*ON, "-t", "lab/x", "--notebook", "train.ipynb")
    assert done.code == 2 and "train.py: is there already" in done.err
    assert (lab.folder / "train.py").read_text() == "import helper\n"


def test_a_script_that_cannot_be_written(
    lab: Launching, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a failure leaves is the script as it was, which is the launcher's to replace."""
    monkeypatch.chdir(lab.folder)
    lab.write("nb.ipynb", notebook("1"))
    lab.write("nb.py", f"{MARK}nb.ipynb\n")
    lab.write("nb.py.new/x", "in the way")
    assert main([*ON, "-t", "lab/x", "--notebook", "nb.ipynb"]) == 2
    assert "nb.py: cannot be written: Is a directory" in capsys.readouterr().err
    assert (lab.folder / "nb.py").read_text() == f"{MARK}nb.ipynb\n"


def test_help(lab: Launching) -> None:
    """Its options and those of the platform are in its help."""
    out = lab.run(*ON, "--help").out
    assert "-t, --tag NAME" in out and "--operator NAME" in out and "--notebook NB.ipynb" in out
