"""A user's own model as real TensorFlow processes: alone, mirrored, and on parameter servers."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.training.testing import Processes

pytestmark = pytest.mark.tensorflow

TRAINER = Path(__file__).with_name("trainer.py")
MIRRORED = ("chief:0", "worker:0")
SERVED = ("chief:0", "worker:0", "worker:1", "ps:0")
MEAN = np.random.default_rng(7).normal(1.0, 1.0, (200, 4)).mean(0)  # of trainer.py's inputs
LONG = ("--epochs=100000", "--checkpoint_steps=20")


def command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(TRAINER), f"--output_dir={directory}/{{slug}}", *arguments]


def result(output: str) -> dict[str, Any]:
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return dict(json.loads(line.removeprefix("RESULT ")))


def alone(directory: Path, *arguments: str) -> dict[str, Any]:
    words = [sys.executable, str(TRAINER), "--alone", f"--output_dir={directory}", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return result(done.stdout)


def together(directory: Path, tasks: Sequence[str], *arguments: str) -> dict[str, dict[str, Any]]:
    with Processes(tasks, directory) as cluster:
        cluster.start(command(directory, *arguments))
        assert {task: cluster.wait(task) for task in tasks} == dict.fromkeys(tasks, 0)
        trained = [task for task in tasks if "RESULT" in cluster.output(task)]
        return {task: result(cluster.output(task)) for task in trained}


def test_mirrored_workers_do_the_mathematics_of_one_process(tmp_path: Path) -> None:
    """Two workers end with the weights that one process reaches with the same global batch."""
    single = alone(tmp_path / "single", "--plain")
    both = together(tmp_path, MIRRORED, "--plain")
    assert both["chief:0"]["step"] == both["worker:0"]["step"] == single["step"] == 26
    for ours, one in zip(both["chief:0"]["weights"], single["weights"], strict=True):
        np.testing.assert_allclose(ours, one, rtol=1e-4, atol=1e-5)
    assert both["chief:0"]["loss"] == pytest.approx(single["loss"], rel=1e-4)


def test_replicas_of_one_process_do_the_mathematics_of_one(tmp_path: Path) -> None:
    """Two replicas in a process, also after a restart, end with the weights of a single one."""
    words = [sys.executable, str(TRAINER.with_name("two_replicas.py")), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    apart = re.findall(r"^\w+: (\S+) apart$", done.stdout, re.MULTILINE)
    assert len(apart) == 2
    assert max(map(float, apart)) < 1e-5


def test_batch_normalization_and_pipelines_mirrored(tmp_path: Path) -> None:
    """Moving statistics of two workers reading a sharded pipeline are those of all examples."""
    trained = together(tmp_path, MIRRORED, "--pipeline", "--epochs=40")["chief:0"]
    assert trained["accuracy"] > 0.9
    np.testing.assert_allclose(trained["weights"][2], MEAN, atol=0.03)


@pytest.mark.parametrize("source", ["--nopipeline", "--pipeline"])
def test_parameter_servers_lose_no_update(tmp_path: Path, source: str) -> None:
    """Two workers make exactly as many updates as steps; statistics lose none; servers end."""
    trained = together(tmp_path, SERVED, source, "--epochs=40")["chief:0"]
    assert trained["updates"] == trained["step"] == 13 * 40
    assert trained["accuracy"] > 0.9
    np.testing.assert_allclose(trained["weights"][2], MEAN, atol=0.03)


def test_alone_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stopped by SIGTERM and started again it ends with the weights of an undisturbed run."""
    arguments = ("--epochs=60", "--pipeline")
    whole = alone(tmp_path / "whole", *arguments)
    with Processes(["worker:0"], tmp_path) as process:
        process.start(command(tmp_path, "--alone", *arguments), env={"LAUNCH_MARKERS": "1"})
        process.wait_for("worker:0", '"kind":"checkpoint"')
        process.send("worker:0", signal.SIGTERM)
        assert process.wait("worker:0") == 42
        stopped = int(process.wait_for("worker:0", r"stopped at step (\d+)")[1])
        assert stopped < whole["step"]
        process.start(command(tmp_path, "--alone", *arguments))
        assert process.wait("worker:0") == 0
        process.wait_for("worker:0", f"resuming from step {stopped} ")
        again = result(process.output("worker:0"))
    assert again["step"] == whole["step"] == 13 * 60
    for ours, one in zip(again["weights"], whole["weights"], strict=True):
        np.testing.assert_allclose(ours, one, rtol=1e-6)


def test_mirrored_workers_stop_at_one_step(tmp_path: Path) -> None:
    """SIGTERM to one worker: all leave with 42, and go on at that very step, sharing no file."""
    with Processes(MIRRORED, tmp_path, env={"LAUNCH_MARKERS": "1"}) as cluster:
        cluster.start(command(tmp_path, *LONG))
        cluster.wait_for("chief:0", '"kind":"checkpoint"')
        cluster.send("worker:0", signal.SIGTERM)
        assert [cluster.wait(task) for task in MIRRORED] == [42, 42]
        steps = {cluster.wait_for(task, r"stopped at step (\d+)")[1] for task in MIRRORED}
        assert len(steps) == 1
        cluster.start(command(tmp_path, "--epochs=1"))
        assert [cluster.wait(task) for task in MIRRORED] == [0, 0]
        cluster.wait_for("chief:0", f"resuming from step {steps.pop()} ")


def test_mirrored_workers_end_when_one_is_lost(tmp_path: Path) -> None:
    """A killed worker ends its peers with 1 and one line; all go on from the last checkpoint."""
    with Processes(MIRRORED, tmp_path, env={"LAUNCH_MARKERS": "1"}) as cluster:
        cluster.start(command(tmp_path, *LONG))
        cluster.wait_for("chief:0", '"kind":"checkpoint"')
        cluster.kill("worker:0")
        assert cluster.wait("chief:0") == 1
        cluster.wait_for("chief:0", "error: another task of the cluster was lost")
        assert "Traceback" not in cluster.output("chief:0")
        cluster.start(command(tmp_path, "--epochs=1"))
        assert [cluster.wait(task) for task in MIRRORED] == [0, 0]
        step = int(cluster.wait_for("chief:0", r"resuming from step (\d+) ")[1])
        assert step and result(cluster.output("chief:0"))["step"] == step


def test_servers_outlive_a_worker_and_a_chief(tmp_path: Path) -> None:
    """A killed worker costs nothing; a chief started again finds its servers and its step."""
    with Processes(SERVED, tmp_path, env={"LAUNCH_MARKERS": "1"}) as cluster:
        cluster.start(command(tmp_path, *LONG))
        cluster.wait_for("chief:0", '"kind":"checkpoint"')
        cluster.kill("worker:1")
        cluster.start(command(tmp_path, *LONG), "worker:1")
        step = int(cluster.wait_for("chief:0", r'"kind":"checkpoint","step":(\d+)')[1])
        cluster.wait_for("chief:0", rf'"kind":"checkpoint","step":(?!{step},)\d+')
        cluster.kill("chief:0")
        cluster.start(command(tmp_path, *LONG), "chief:0")
        cluster.wait_for("chief:0", r"resuming from step \d+ ")
        cluster.send("chief:0", signal.SIGTERM)
        assert cluster.wait("chief:0") == 42
        cluster.start(command(tmp_path, "--epochs=1"), "chief:0")
        assert [cluster.wait(task) for task in SERVED] == [0, 0, 0, 0]


def test_servers_leave_a_chief_that_vanished(tmp_path: Path) -> None:
    """A server that has seen its chief leaves with 1 once it is gone for chief_gone_s."""
    with Processes(("chief:0", "worker:0", "ps:0"), tmp_path) as cluster:
        cluster.start(command(tmp_path, *LONG, "--chief_gone_s=2"))
        cluster.wait_for("chief:0", "epoch 1/")
        for server in ("worker:0", "ps:0"):
            cluster.wait_for(server, "has found the chief")
        cluster.kill("chief:0")
        assert cluster.wait("worker:0") == cluster.wait("ps:0") == 1
        cluster.wait_for("ps:0", "error: the chief at .* has been unreachable for 2 s")


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    """Without its chief a server ends with 1, without its peer a worker does: they are named."""
    with Processes(("chief:0", "worker:0", "ps:0"), tmp_path) as served:
        served.start(command(tmp_path, "--start_timeout_s=2"), "ps:0")
        with Processes(("chief:0", "worker:0"), tmp_path) as mirrored:
            mirrored.start(command(tmp_path, "--start_timeout_s=2"), "worker:0")
            assert mirrored.wait("worker:0") == 1
            chief = mirrored.addresses["chief:0"]
            mirrored.wait_for(
                "worker:0", rf"not form in 2 s: nothing listens for chief:0 \({chief}"
            )
        assert served.wait("ps:0") == 1
        served.wait_for("ps:0", f"no chief came at {served.addresses['chief:0']} within 2 s")


def test_sigterm_ends_a_server_at_once(tmp_path: Path) -> None:
    """A server that is told to stop stops by that signal, whatever its chief does."""
    with Processes(("chief:0", "worker:0", "ps:0"), tmp_path) as cluster:
        cluster.start(command(tmp_path), "ps:0")
        cluster.wait_for("ps:0", "ps:0 serves at")
        cluster.send("ps:0", signal.SIGTERM)
        assert cluster.wait("ps:0") == -signal.SIGTERM


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    """A server whose port is taken says so and ends with 1."""
    with Processes(("chief:0", "worker:0", "ps:0"), tmp_path) as cluster, socket.socket() as taken:
        host, port = cluster.addresses["ps:0"].split(":")
        taken.bind((host, int(port)))
        taken.listen()
        cluster.start(command(tmp_path), "ps:0")
        assert cluster.wait("ps:0") == 1
        cluster.wait_for("ps:0", f"error: ps:0 cannot serve at {host}:{port}")


def test_evaluator_follows_and_ends(tmp_path: Path) -> None:
    """An evaluator evaluates what is there and what comes, and ends with the last step.

    Which that is the chief knows: a batch that its replicas share evenly makes other epochs.
    """
    shared = {"LAUNCH_CHECKPOINT_DIR": str(tmp_path / "shared"), "LAUNCH_MARKERS": "1"}
    tasks = ("worker:0", "evaluator:0")
    with Processes(tasks, tmp_path, env=shared) as cluster:
        cluster.start(command(tmp_path, "--epochs=4"), "evaluator:0")
        cluster.start(command(tmp_path, "--epochs=3"), "worker:0")
        assert [cluster.wait(task) for task in tasks] == [0, 0]
        cluster.wait_for("evaluator:0", '"step":39,"split":"eval","final":true,"loss":')
        cluster.start(command(tmp_path, "--epochs=100000"), "evaluator:0")
        cluster.wait_for("evaluator:0", "evaluated step 39/1300000: loss=")
        cluster.send("evaluator:0", signal.SIGTERM)
        assert cluster.wait("evaluator:0") == 0


def test_different_arguments_are_refused(tmp_path: Path) -> None:
    """Workers started with different settings end with 2 and say so, instead of hanging."""
    with Processes(MIRRORED, tmp_path) as cluster:
        cluster.start(command(tmp_path, "--epochs=1"), "chief:0")
        cluster.start(command(tmp_path, "--epochs=2"), "worker:0")
        assert [cluster.wait(task) for task in MIRRORED] == [2, 2]
        cluster.wait_for("worker:0", "error: .*started with different settings")


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    """A global batch that the workers cannot share evenly is refused with ones that they can."""
    with Processes(MIRRORED, tmp_path) as cluster:
        cluster.start(command(tmp_path, "--batch_size=15"))
        assert [cluster.wait(task) for task in MIRRORED] == [2, 2]
        cluster.wait_for("worker:0", r"error: batch_size: .*multiple of the 2 .*try 14 or 16")
