"""`launch ps` of runs on this machine: what their folders and the system tell."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, Launching, until


def listed(launching: Launching, *words: str) -> list[dict[str, Any]]:
    done = launching.run("ps", "--json", *words)
    assert done.code == 0, done.err
    runs: list[dict[str, Any]] = json.loads(done.out)["runs"]
    return runs


def running(launching: Launching) -> "subprocess.Popen[str]":
    """Start a run of two tasks, and return its launcher once both run."""
    launching.cluster()
    process = launching.start("--", "sh", "-c", "echo up; exec sleep 600")
    until(lambda: all(launching.log(t) == b"up\n" for t in ("chief-0", "worker-0")), "both")
    return process


def test_no_runs(launching: Launching) -> None:
    """Without a cluster.yaml what is here alone is listed, and said to be."""
    done = launching.run("ps")
    assert (done.code, done.out) == (0, "no runs\n")
    assert done.err.startswith("launch: there is no cluster.yaml here: these are the runs in runs")


def test_a_run_that_has_ended(launching: Launching) -> None:
    """What is over is hidden until it is asked for, with its outcome and exit codes."""
    launching.cluster()
    assert launching.run("--", "sh", "-c", "exit 3").code == 1
    done = launching.run("ps")
    more = "launch: 1 more ended here (--all shows them)\n"
    assert (done.code, done.out, done.err) == (0, "no runs\n", more)
    text = launching.run("ps", "--all").out.splitlines()[1]
    assert text.startswith(f"{launching.run_dir().name}  sh   ended (failed)  0/2  localhost")
    (run,) = listed(launching, "--all")
    assert (run["state"], run["outcome"], run["total"]) == ("ended", "failed", 2)
    assert 3 in [task["exit_code"] for task in run["tasks"]]


def test_a_run_with_its_launcher(launching: Launching) -> None:
    """A run that is supervised here is running, and its supervisor is named."""
    process = running(launching)
    (run,) = listed(launching)
    assert (run["state"], run["up"], run["total"]) == ("running", 2, 2)
    assert run["supervisor"].startswith(f"process {process.pid} on ")


def test_a_killed_launcher(launching: Launching) -> None:
    """Processes that outlive their launcher are found, one by one, until none is left."""
    process = running(launching)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    (run,) = listed(launching)
    assert (run["state"], run["up"], run["supervisor"]) == ("running, no launcher", 2, None)
    for pid in launching.living():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not launching.living(), "the tasks to end")
    assert listed(launching) == []
    (run,) = listed(launching, "--all")
    assert (run["state"], run["up"]) == ("lost", 0)


def test_a_run_in_containers_whose_hosts_are_not_asked(launching: Launching) -> None:
    """Of a run on other hosts nothing is claimed that was not asked for."""
    plan = {"run": "r", "backend": "docker", "tasks": [{"task": "worker:0", "host": "h1"}],
            "hosts": {"h1": {"address": "10.0.0.1"}}}  # fmt: skip
    launching.write("runs/r/plan.json", json.dumps(plan))
    (run,) = listed(launching)
    assert (run["state"], run["up"], run["total"]) == ("unknown", 0, 1)
    left = {"outcome": "host_lost", "left_on_hosts": ["h1: …"]}
    launching.write("runs/r/report.json", json.dumps(left))
    (run,) = listed(launching)
    assert (run["state"], run["outcome"]) == ("ended, not collected", "host_lost")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tasks": [1, {"task": "x"}]}'])
def test_what_is_no_run(launching: Launching, text: str) -> None:
    """Folders and files that are none of ours, or torn, end in no traceback."""
    for name in ("plan.json", "report.json", "events.jsonl"):
        launching.write(f"runs/x/{name}", text)
    launching.write("runs/file", "")
    done = launching.run("ps", "--all")
    assert done.code == 0 and "Traceback" not in done.err


def test_other_places(launching: Launching, tmp_path: Path) -> None:
    """`--runs-dir` and $LAUNCH_RUNS name the runs, `--cluster` a file that must be there."""
    launching.cluster()
    assert launching.run("--runs-dir", "there", "--", "true").code == 0
    assert len(listed(launching, "--all", "--runs-dir", "there")) == 1
    launching.env["LAUNCH_RUNS"] = str(tmp_path / "there")
    assert len(listed(launching, "--all")) == 1
    done = launching.run("ps", "--cluster", "no.yaml")
    assert (done.code, done.err) == (2, "launch: no.yaml: no such file; expected a cluster.yaml\n")
