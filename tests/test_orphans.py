"""The watch beside a task: it changes nothing of the task, and ends it when nobody is there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import orphans
from launcher.cluster import Timeouts
from tests.conftest import DEADLINE_S, Launching, until

SHELLS = [["/bin/sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]
SEES = """
import json, os, sys
children = open(f"/proc/self/task/{os.getpid()}/children").read()
files = sorted(os.listdir("/proc/self/fd"))
print(json.dumps([sys.argv[1:], dict(os.environ), children, os.getcwd(), files]))
"""
ASKED = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(42))
print(flush=True)
time.sleep(99)
"""


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    return words


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "lease of it"
    path.write_text("1\n")
    yield path
    path.unlink(missing_ok=True)


def watched(shell: list[str], lease: Path, *argv: str, grace_s: float = 1.0) -> list[str]:
    timeouts = Timeouts(grace_s=grace_s, orphan_s=3.0)
    command = orphans.watched(argv, timeouts, str(lease), group=True)
    return [*shell, *command[1:]]


def test_without_it_nothing_changes() -> None:
    """Where nobody asks for the watch, the command is the task's own."""
    assert orphans.watched(("a", "b"), Timeouts(), "/lease", group=False) == ("a", "b")


def test_the_task_sees_no_difference(shell: list[str], lease: Path) -> None:
    """Arguments, environment, folder, files, children and streams are as without the watch."""
    argv = [sys.executable, "-c", SEES, "a b", "$HOME", "", "-n"]
    env = {"lease": "mine", "PATH": os.environ["PATH"], "PWD": os.getcwd()}
    plain = subprocess.run(argv, capture_output=True, env=env, check=True)
    done = subprocess.run(watched(shell, lease, *argv), capture_output=True, env=env, check=True)
    seen = json.loads(done.stdout)
    seen[1].pop("SHLVL", None)  # some shells count themselves
    assert (seen, done.stderr) == (json.loads(plain.stdout), plain.stderr)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", -9), ("kill -TERM $$", -15),
     ("trap 'exit 7' TERM; kill -TERM $$", 7)],
)  # fmt: skip
def test_codes_pass(shell: list[str], lease: Path, script: str, code: int) -> None:
    """How a task ends is how it ended."""
    done = subprocess.run(watched(shell, lease, "sh", "-c", script), check=False)
    assert done.returncode == code


def test_signals_reach_the_task(shell: list[str], lease: Path) -> None:
    """A signal to what was started is one to the task itself."""
    argv = watched(shell, lease, sys.executable, "-c", ASKED)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as task:
        assert task.stdout is not None
        task.stdout.readline()
        task.send_signal(signal.SIGTERM)
        assert task.wait(DEADLINE_S) == 42


@pytest.mark.parametrize(
    ("script", "code"), [("sleep 99", -15), ("trap 'exit 42' TERM; sleep 99 & wait", 42),
                         ("trap '' TERM; while :; do sleep 1; done", -9)],
)  # fmt: skip
def test_an_orphan_is_ended(shell: list[str], lease: Path, script: str, code: int) -> None:
    """A lease that is not renewed ends the task as a stop would: asked first, then killed."""
    argv = watched(shell, lease, "sh", "-c", script)
    with subprocess.Popen(argv, start_new_session=True) as task:
        assert task.wait(DEADLINE_S) == code


def test_a_lease_that_is_renewed(shell: list[str], lease: Path, tmp_path: Path) -> None:
    """As long as the lease changes the task goes on; a file that is gone is no change."""
    with subprocess.Popen(
        watched(shell, lease, "sh", "-c", "sleep 6; exit 5"), start_new_session=True
    ) as task:
        number = 0
        while task.poll() is None:
            number += 1
            (tmp_path / "new").write_text(f"{number}\n")
            (tmp_path / "new").replace(lease)
        assert task.returncode == 5
    with subprocess.Popen(watched(shell, lease, "sleep", "99"), start_new_session=True) as task:
        lease.unlink()
        assert task.wait(DEADLINE_S) == -15


ORPHANS = "tasks: {worker: {count: 2}}\ntimeouts: {grace_s: 1, orphan_s: 3}\n"


def test_a_launcher_that_is_killed(launching: Launching) -> None:
    """Processes end with their launcher's lease, all that they have started too."""
    launching.cluster(ORPHANS)
    script = "trap '' TERM; (while :; do sleep 1; done) & echo $LAUNCH_STRATEGY; wait; wait"
    process = launching.start("--", "sh", "-c", script)
    until(lambda: all(launching.log(f"worker-{n}") for n in range(2)), "the tasks")
    process.kill()
    process.wait()
    until(lambda: launching.living() == [], "the tasks' end")


def test_a_launcher_that_lives(launching: Launching) -> None:
    """Under a launcher that lives nothing is ended, nothing is left, and a stop is no slower."""
    launching.cluster(ORPHANS)
    process = launching.start("--", "sh", "-c", "sleep 7; echo done; sleep 99")
    until(lambda: launching.log("worker-0") == b"done\n", "the tasks")
    process.terminate()
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert launching.living() == []
    assert not (launching.run_dir() / "lease").exists()
