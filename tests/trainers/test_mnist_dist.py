"""mnist_dist as each task of a cluster: real processes on the shipped sample."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.training.testing import Processes

pytestmark = pytest.mark.tensorflow

TRAINERS = Path(__file__).resolve().parents[2] / "trainers"
SCRIPT = TRAINERS / "mnist_dist.py"


def command(directory: Path, *arguments: str) -> list[str]:
    flags = [f"--data_dir={TRAINERS / 'data'}", f"--output_dir={directory}/{{slug}}", *arguments]
    return [sys.executable, str(SCRIPT), *flags]


def run(tf_config: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TF_CONFIG": json.dumps(tf_config) if tf_config else ""}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=False,
    )


def test_workers_train_together_and_the_chief_saves(tmp_path: Path) -> None:
    """A chief and a worker train one classifier; the chief alone evaluates and writes it."""
    tasks = ("chief:0", "worker:0")
    with Processes(tasks, tmp_path, env={"LAUNCH_MARKERS": "1"}) as cluster:
        cluster.start(command(tmp_path))
        assert [cluster.wait(task) for task in tasks] == [0, 0]
        last = cluster.output("chief:0").splitlines()[-1]
        assert float(last.removeprefix("loss=").split(" accuracy=")[1]) > 0.9
        assert '"kind":"ready","role":"train"' in cluster.output("worker:0")
        assert "accuracy" not in cluster.output("worker:0")
        assert not (tmp_path / "worker-0").exists()
        assert {p.name for p in (tmp_path / "chief-0").glob("mnist*")} == {
            "mnist",
            "mnist.h5",
            "mnist.keras",
        }


def test_old_form_with_parameter_servers(tmp_path: Path) -> None:
    """A master, a worker, a ps and an evaluator, each told of all of them, train to the end."""
    tasks = ("chief:0", "worker:0", "ps:0", "evaluator:0")
    shared = {"LAUNCH_CHECKPOINT_DIR": str(tmp_path / "checkpoints")}
    with Processes(tasks, tmp_path, env=shared) as cluster:
        for task in tasks:
            old = cluster.tf_config(task).replace('"chief"', '"master"')
            cluster.start(command(tmp_path), task, env={"TF_CONFIG": old})
        assert [cluster.wait(task) for task in tasks] == [0, 0, 0, 0]
        cluster.wait_for("chief:0", r"master is now chief")
        cluster.wait_for("chief:0", r"^loss=.* accuracy=0\.9\d+$")
        cluster.wait_for("evaluator:0", r"evaluated step 94/94: loss=.* accuracy=0\.9")


def test_a_ps_is_not_needed_under_multi_worker_mirrored() -> None:
    """A ps of an old cluster says that it is not needed, and ends with 0."""
    cluster = {"worker": ["127.0.0.1:7001"], "ps": ["127.0.0.1:7002"]}
    config = {"cluster": cluster, "task": {"type": "ps", "index": 0}}
    done = run(config, "--strategy=multi_worker_mirrored")
    assert done.returncode == 0
    assert "ps:0 is not needed under multi_worker_mirrored" in done.stdout


@pytest.mark.parametrize(
    ("config", "arguments", "expected"),
    [
        (None, (), "TF_CONFIG is not set"),
        ({"cluster": {"worker": ["127.0.0.1"]}}, (), "TF_CONFIG cluster.worker[0]: expected"),
        (None, ("--strategy=mirrored",), "strategy: expected one of auto"),
    ],
)
def test_no_cluster_to_join(config: object, arguments: tuple[str, ...], expected: str) -> None:
    """Without a usable TF_CONFIG a task says what is missing and ends with 2."""
    done = run(config, *arguments)
    assert done.returncode == 2
    assert f"error: {expected}" in done.stderr
    assert "Traceback" not in done.stderr
