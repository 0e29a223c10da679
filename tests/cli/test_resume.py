"""Going on with a run of processes: from where it stopped, once, and never beside itself."""

import json
import signal

from tests.conftest import DEADLINE_S, Launching, until

# Counts on from its checkpoint, and saves when it is asked to stop.
COUNTER = """
mkdir -p "$LAUNCH_CHECKPOINT_DIR"; f=$LAUNCH_CHECKPOINT_DIR/state
n=$(cat $f 2>/dev/null || echo 0); echo from $n
trap 'echo $n >$f; exit 42' TERM
while [ $n -lt {last} ]; do n=$((n+1)); echo step $n; sleep 0.02; done
"""
ONE = "tasks: {chief: {}}\n"


def counter(last: int) -> tuple[str, ...]:
    return "--", "sh", "-c", COUNTER.format(last=last)


def stopped(launching: Launching, *words: str) -> None:
    """Begin a run and stop it by SIGTERM while it counts."""
    process = launching.start(*words)
    until(lambda: b"step 9\n" in launching.log("chief-0"), "steps")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out + err
    assert launching.report()["outcome"] == "stopped, its state is saved"


def test_resumed_from_its_checkpoint(launching: Launching) -> None:
    """A run that has saved goes on from exactly there, with the next attempt of its task."""
    launching.cluster(ONE)
    stopped(launching, *counter(150))
    state = int((launching.run_dir() / "checkpoints/state").read_text())
    done = launching.run("resume", "last")
    assert done.code == 0, done.err
    assert launching.log("chief-0", 2).startswith(f"from {state}\nstep {state + 1}\n".encode())
    assert launching.report()["outcome"] == "succeeded"


def test_resumed_by_its_own_command(launching: Launching) -> None:
    """--resume goes on with the latest run of the same command; another command begins its own."""
    launching.cluster(ONE)
    stopped(launching, "--resume", *counter(150))
    assert launching.run("--resume", *counter(20)).code == 0
    assert len(list((launching.folder / "runs").iterdir())) == 2
    assert launching.run("--resume", *counter(150)).code == 0
    assert len(list((launching.folder / "runs").iterdir())) == 2


def test_not_beside_its_launcher(launching: Launching) -> None:
    """A run that is supervised is not resumed, and nothing happens to its tasks."""
    launching.cluster(ONE)
    process = launching.start(*counter(400))
    until(lambda: b"step 9\n" in launching.log("chief-0"), "steps")
    refused = launching.run("resume", "last")
    assert (refused.code, refused.out) == (3, "")
    assert f"process {process.pid} on" in refused.err and "supervises it" in refused.err
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert launching.log("chief-0").endswith(b"step 400\n")


def test_what_a_killed_launcher_left_is_ended_first(launching: Launching) -> None:
    """A task that outlived its launcher saves and ends before the next attempt begins."""
    launching.cluster(ONE)
    process = launching.start(*counter(5000))
    until(lambda: b"step 9\n" in launching.log("chief-0"), "steps")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = launching.start("resume", "last")
    until(lambda: b"step " in launching.log("chief-0", 2), "the second attempt")
    state = int(launching.log("chief-0", 2).split()[1])
    steps = [line for line in launching.log("chief-0").split(b"\n") if line.startswith(b"step")]
    assert steps[-1] == f"step {state}".encode()
    again.send_signal(signal.SIGTERM)
    out, err = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, out + err


def test_nothing_to_resume(launching: Launching) -> None:
    """A run that has succeeded, and one that is not there, are refused with what was expected."""
    launching.cluster(ONE)
    assert launching.run(*counter(1)).code == 0
    done = launching.run("resume", "last")
    assert done.code == 2 and "has succeeded; nothing is left to do" in done.err
    unknown = launching.run("resume", "none")
    assert unknown.code == 2 and "none: no such run" in unknown.err


def test_in_the_background_and_watched(launching: Launching) -> None:
    """--detach returns at once; attach shows the console to the end, with the run's exit code."""
    launching.cluster(ONE)
    done = launching.run("--detach", *counter(100))
    assert done.code == 0, done.err
    said = json.loads((launching.run_dir() / "supervisor.json").read_text())
    assert said["pid"] in launching.living()
    watched = launching.run("attach", "last")
    assert watched.code == 0
    assert "chief:0 | from 0" in watched.out and "succeeded after" in watched.out
