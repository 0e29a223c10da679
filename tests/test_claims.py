"""Who holds a GPU or a port of this machine, and who waits for it, among runs of processes."""

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from launcher import claim_notes, claims
from launcher.errors import HostError
from tests.conftest import DEADLINE_S, Launching, until

GPU = "gpu-test"  # of no machine
FIXED = "tasks: {chief: {port: 21994}}\ntimeouts: {grace_s: 5}\n"


def taking(run: str, *names: str) -> claims.Claims:
    taken = claims.Claims(run, print)
    taken.take(names, wait=False)
    return taken


def test_a_port_is_held_once() -> None:
    """A second run that wants a held port is told whose it is; the others stay free."""
    with taking("first", "port-21991", "port-21992"):
        with pytest.raises(HostError, match=r"^port 21992 is held by run first of .+ since ..:..$"):
            taking("second", "port-21990", "port-21992")
        with taking("third", "port-21990"):
            pass


def test_it_is_free_again() -> None:
    """What was held falls with its holder."""
    for _ in range(2):
        with taking("run", GPU):
            assert [note.run for note in claim_notes.notes() if note.what == GPU] == ["run"]
    assert GPU not in {note.what for note in claim_notes.notes()}


def test_more_is_held_later() -> None:
    """A run that needs another port takes it beside what it has."""
    with taking("run", GPU) as held:
        held.take([GPU, "port-21993"], wait=False)
        with pytest.raises(HostError, match="port 21993 is held by run run"):
            taking("other", "port-21993")


def test_containers_see_processes() -> None:
    """Hosts are read for what runs of processes there were given."""
    line = "ffff: 00000002 00000000 00000000 0001 01 7 @launch-claim/h/18c1/ann/gpu-1/lab-x"
    (note,) = claim_notes.notes_in(
        [
            "@runs",
            line,
            line.replace("ann", "a/nn"),
            line.replace("gpu-1", "port-x"),
            line.replace("/18c1/", "/-fffffffffffffff/"),
        ]
    )
    assert note == claim_notes.Note("gpu-1", True, 0x18C1, "ann", "lab-x")
    users = claim_notes.gpu_users([note], {"0": "GPU-aa", "1": "GPU-bb"})
    assert users == {"GPU-bb": ("run lab-x of ann (processes)",)}


def test_long_names() -> None:
    """A run of any name can hold something."""
    with taking("r" * 200, GPU), pytest.raises(HostError, match="GPU test is held by run rrr"):
        taking("other", GPU)


def test_waiting_runs(launching: Launching) -> None:
    """Runs that wait for a port start one after the other, in the order of their arrival."""
    launching.cluster(FIXED)
    first = launching.start("--", "sh", "-c", "sleep 1000")
    until(lambda: holders() == 1, "the first run")
    waiting = []
    for number in range(3):
        script = f"echo {number} >>{launching.folder}/order"
        waiting.append(launching.start("--wait", "--", "sh", "-c", script))
        until(lambda n=number: waiters() == n + 1, "the run in the queue")  # type: ignore[misc]
    refused = launching.run("--", "true")
    assert refused.code == 3 and "launch: port 21994 is held by run sh-" in refused.err
    first.terminate()
    told = [process.communicate() for process in waiting]
    assert [process.returncode for process in waiting] == [0, 0, 0], told
    assert "launch: waiting for port 21994 held by run sh-" in told[0][1]
    assert "; 2 runs before this one" in told[2][1]
    assert (launching.folder / "order").read_text() == "0\n1\n2\n"


def test_a_killed_launcher(launching: Launching) -> None:
    """What a task has stays its own while it lives, also where its launcher was killed."""
    launching.cluster(FIXED)
    first = launching.start("--", "sh", "-c", "echo $$; exec sleep 1000")
    until(lambda: bool(launching.log("chief-0")), "the task")
    first.kill()
    first.wait()
    refused = launching.run("--", "true")
    assert refused.code == 3 and "port 21994 is held by run sh-" in refused.err
    second = launching.start("--wait", "--", "true")
    until(lambda: waiters() == 1, "the second run")
    os.kill(int(launching.log("chief-0")), signal.SIGKILL)
    assert second.wait(DEADLINE_S) == 0


def holders() -> int:
    return sum(note.holds for note in claim_notes.notes() if note.what == "port-21994")


def waiters() -> int:
    return sum(not note.holds for note in claim_notes.notes() if note.what == "port-21994")


def fake_nvidia_smi(folder: Path) -> None:
    """Put a fake nvidia-smi there, of a machine with two GPUs that compute nothing."""
    program = folder / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in *uuid) echo 0, GPU-aa; echo 1, GPU-bb;; *) echo 0; echo 1;; esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_gpus_of_this_machine(launching: Launching, tmp_path: Path) -> None:
    """A single task takes a GPU that no other run holds; where there is none it says who does."""
    (tmp_path / "bin").mkdir()
    fake_nvidia_smi(tmp_path / "bin")
    launching.env["PATH"] = f"{tmp_path}/bin{os.pathsep}{launching.env['PATH']}"
    words = ("--single", "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 1000")
    logs = launching.folder / "runs"
    for count in (1, 2):
        launching.start(*words)
        until(lambda n=count: printed(logs).count(b"\n") == n, "the task")  # type: ignore[misc]
    assert sorted(printed(logs).split()) == [b"0", b"1"]
    third = launching.run(*words)
    assert third.code == 3 and "GPU 0 is held by run sh-" in third.err
    launching.cluster(
        "hosts: {me: {address: 127.0.0.1, gpus: [GPU-bb]}}\ntasks: {chief: {gpus: 1}}\n"
    )
    fourth = launching.run("--", "true")
    shown = json.loads(launching.run("hosts", "--json").out)["hosts"][0]
    assert [(gpu["id"], bool(gpu["run"])) for gpu in shown["gpus"]] == [("0", True), ("1", True)]
    assert "held" in launching.run("hosts").out
    assert fourth.code == 3 and "GPU 1 is held by run sh-" in fourth.err


def printed(runs: Path) -> bytes:
    return b"".join(path.read_bytes() for path in runs.glob("*/logs/*.log"))
