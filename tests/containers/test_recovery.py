"""What starts again in containers, and what goes on from where it was."""

import json
import signal

import pytest

from tests.conftest import Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import sh
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

# Counts on from a file, as a trainer does from its checkpoint, and saves it when asked to stop.
COUNTER = """
f=/data/output/state; n=$(cat $f 2>/dev/null || echo 0); echo from $n
trap 'echo $n >$f; exit 42' TERM
while [ $n -lt {last} ]; do
  n=$((n+1)); sleep 0.05
  echo "@launch {{\\"kind\\":\\"step\\",\\"step\\":$n,\\"total_steps\\":{last}}}"
done
echo $n >$f
"""


def one_host(testbed: Testbed) -> str:
    host = testbed.hosts[0]
    return (
        f"image: launch-testbed/busybox:1\nhosts: {{h1: {{address: {host.address}, "
        "ssh: {host: h1}}}\ntasks: {worker: {}}\n"
    )


def test_stopped_and_resumed(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A run that was stopped goes on from what came home of it, in new containers."""
    user.cluster(one_host(testbed))
    command = sh(COUNTER.format(last=200))
    process = user.start(*command)
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "stopped, its state is saved" in out
    assert remote.left() == []
    state = int((user.run_dir() / "output/worker-0/state").read_text())
    assert 9 <= state < 200

    done = user.run("resume", user.run_dir().name)
    assert done.code == 0, done.err
    assert f"from {state}" in done.out
    assert (user.run_dir() / "output/worker-0/state").read_text() == "200\n"
    assert user.report()["step"] == 200
    assert user.log("worker-0", 2).startswith(f"from {state}\n".encode())
    assert remote.left() == []
    assert user.run("resume", user.run_dir().name).code == 2


def test_resumed_by_the_same_command(user: Launching, testbed: Testbed) -> None:
    """With --resume a command goes on with its own run; where there is none, it begins one."""
    user.cluster(one_host(testbed))
    command = ("--resume", *sh(COUNTER.format(last=60)))
    process = user.start(*command)
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert user.run(*command).code == 0
    assert len(list((user.folder / "runs").iterdir())) == 1
    assert user.run(*command).code == 0  # that one has succeeded: another
    assert len(list((user.folder / "runs").iterdir())) == 2


def test_a_silent_container_that_writes_event_files_goes_on(
    user: Launching, testbed: Testbed
) -> None:
    """Event files that grow in a container are signs of life where it prints nothing."""
    user.cluster(f"{one_host(testbed)}timeouts: {{stalled_s: 1}}\n")
    grows = "for i in $(seq 15); do echo $i >>logs/events.out.tfevents.1.h; sleep 0.2; done"
    done = user.run(*sh(f"cd /data/output; mkdir -p logs; {grows}"))
    assert done.code == 0, done.out
    assert "no progress" not in done.out
    assert "LookForLife" in [event["what"] for event in user.events()]


def test_a_killed_container_starts_again(
    user: Launching, remote: Engines, testbed: Testbed
) -> None:
    """A container that somebody kills is started again, with the volume that it had."""
    user.cluster(one_host(testbed))
    process = user.start(*sh(COUNTER.format(last=200)))
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    (name,) = remote.running()
    testbed.hosts[0].docker("kill", name.lstrip("/"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "worker:0 failed at step" in out and "killed by SIGKILL" in out
    assert [each["attempt"] for each in user.report()["failures"]] == [1]
    assert remote.left() == []


def test_in_the_background(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """With --detach the command returns once the run is under way, which then goes on alone."""
    user.cluster(one_host(testbed))
    done = user.run("--detach", *sh(COUNTER.format(last=100)))
    assert done.code == 0, done.err
    run = user.run_dir()
    assert run.name in done.out
    assert json.loads((run / "supervisor.json").read_text())["pid"]
    until(lambda: (run / "report.json").exists(), "the end")
    until(lambda: not (run / "supervisor.json").exists(), "the launcher's end")
    assert user.report()["outcome"] == "succeeded"
    assert "worker:0 | from 0" in (run / "console.log").read_text()
    assert remote.left() == []


def test_a_run_that_cannot_begin_in_the_background(user: Launching, testbed: Testbed) -> None:
    """What is wrong is said by the command itself, and leaves no folder behind."""
    user.cluster(f"{one_host(testbed)}data: {{path: /nowhere}}\n")
    done = user.run("--detach", *sh("true"))
    assert done.code == 3
    assert "launch: h1: there is no /nowhere" in done.err
    assert list((user.folder / "runs").iterdir()) == []


def test_stopping_from_elsewhere(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """`launch stop` has a run's launcher end it, waits for that, and says how it ended."""
    user.cluster(one_host(testbed))
    assert user.run("--detach", *sh(COUNTER.format(last=10_000))).code == 0
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    done = user.run("stop", "last")
    assert (done.code, done.out.split(": ", 1)[1]) == (0, "stopped, its state is saved\n")
    assert user.report()["step"] >= 9
    assert remote.left() == []
    assert user.run("stop", "last").code == 2
