"""GPUs of this machine, for processes: which there are, who gets which, and what is refused.

Nothing computes on a GPU here: `nvidia-smi` is a fake (tests/testbed). What needs a real one is in
test_real_gpu.py.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import claim_notes, claims, gpus_here
from tests.conftest import DEADLINE_S, Done, Launching, until
from tests.testbed import fake_nvidia

GPU = "GPU-0a1b2c3d-fa4e-4000-8000-{:012x}"
ONE = "hosts: {me: {address: 127.0.0.1, gpus: 1}}\ntasks: {chief: {gpus: 1}}\n"
AUTO = ONE.replace("gpus: 1}}", "gpus: auto}}", 1)
SHOW = ("--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")


class Fake:
    """A fake nvidia-smi's tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, gpus: int) -> None:
        """Let the machine have so many GPUs."""
        lines = [f"{i}, {GPU.format(i)}, Fake GPU, 81559, 0\n" for i in range(gpus)]
        (self.folder / "gpus.csv").write_text("".join(lines))
        self.uses()

    def uses(self, *numbers: int) -> None:
        """Let a process compute on each of these GPUs."""
        lines = [f"{GPU.format(i)}, {4240 + i}, /opt/bin/python3, 2048\n" for i in numbers]
        (self.folder / "processes.csv").write_text("".join(lines))


@pytest.fixture
def fake(tmp_path: Path, launching: Launching, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Two GPUs that nothing uses, for this process and for every `launch` that it starts."""
    folder = tmp_path / "fake-nvidia"
    folder.mkdir()
    made = Fake(folder)
    made.has(2)
    path = f"{fake_nvidia.HERE}:{launching.env['PATH']}"
    launching.env |= {"PATH": path, "FAKE_NVIDIA": str(folder)}
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("FAKE_NVIDIA", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus_here.listed.cache_clear()
    yield made
    gpus_here.listed.cache_clear()


def test_a_run_keeps_what_it_holds(fake: Fake) -> None:
    """Planned again, a run is given the GPUs that it holds, before free ones and others' ones."""
    with claims.Claims("lab-a", print) as other, claims.Claims("lab-b", print) as own:
        other.take({"gpu-0"}, wait=False)
        assert gpus_here.ids("lab-b") == ("1", "0")
        own.take({"gpu-1"}, wait=False)
        assert gpus_here.ids("lab-b") == ("1", "0")
        assert gpus_here.ids("lab-a") == ("0", "1")


def test_which_there_are(fake: Fake) -> None:
    """They are those that nvidia-smi lists."""
    assert gpus_here.ids() == ("0", "1")


def test_a_driver_that_fails(fake: Fake) -> None:
    """Where nvidia-smi fails there is none, and it is known what it said."""
    fake.has(0)
    assert gpus_here.ids() == ()
    assert gpus_here.known().said == "No devices were found"


@pytest.mark.parametrize(
    ("visible", "ids"),
    [("3,1", ("3", "1")), ("", ()), ("-1", ()), ("GPU-8a6b", ("GPU-8a6b",))],
)
def test_those_that_the_user_may_take(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, visible: str, ids: tuple[str, ...]
) -> None:
    """On a shared machine $CUDA_VISIBLE_DEVICES says which GPUs are ours."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here.ids() == ids


def test_no_nvidia_smi(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launching: Launching
) -> None:
    """Without nvidia-smi there is no GPU, whatever the environment says, and none can be lent."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpus_here.ids() == ()
    launching.env["PATH"] = str(tmp_path)
    launching.cluster(ONE)
    refused(launching, launching.run("--", sys.executable), "me: there is no nvidia-smi; install")


def test_the_least_wanted_come_last(fake: Fake) -> None:
    """Free ones come first, then those that runs hold, then those that something else uses."""
    fake.has(4)
    fake.uses(0, 1)
    with claims.Claims("run", print) as held:
        held.take(["gpu-1"], wait=False)
        assert gpus_here.ids() == ("2", "3", "1", "0")


def test_what_something_else_uses(fake: Fake, launching: Launching) -> None:
    """A GPU on which a process of no run computes is refused by name, until that has ended."""
    used = "GPU 0, which chief:0 shall have, is used by /opt/bin/python3 (pid 4240)"
    fake.uses(0)
    launching.cluster(ONE)
    refused(launching, launching.run(*SHOW), f"launch: me: {used}")
    refused(launching, launching.run("--dry-run", "--hosts", *SHOW), f"launch: me: {used}")
    refused(launching, launching.run("check", "--hosts"), f"launch: me: {used}")
    shown = launching.run("hosts").out.splitlines()
    assert "me    GPU 0  in use  /opt/bin/python3 (pid 4240)" in shown
    assert "me    GPU 1  free" in [line.rstrip() for line in shown]
    fake.uses()
    assert launching.run("check", "--hosts").code == 0
    done = launching.run(*SHOW)
    assert done.code == 0, done.err
    assert launching.log("chief-0") == b"0\n"


def test_auto_leaves_it_out(fake: Fake, launching: Launching) -> None:
    """Under `gpus: auto` another one is taken."""
    fake.uses(0)
    launching.cluster(AUTO)
    assert launching.run(*SHOW).code == 0
    assert launching.log("chief-0") == b"1\n"


def test_what_is_being_given_back(fake: Fake, launching: Launching) -> None:
    """A process that is just ending keeps no run from its GPU: its claim falls before its memory
    is free."""
    fake.uses(0)
    launching.cluster(ONE)
    process = launching.start(*SHOW)
    until(lambda: "gpu-0" in {note.what for note in claim_notes.notes() if note.holds}, "the claim")
    fake.uses()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out + err


def test_more_than_there_are(fake: Fake, launching: Launching) -> None:
    """A file that lends more GPUs than the machine has is told what it has."""
    fake.has(1)
    has = f"it has 0 ({GPU.format(0)})"
    launching.cluster(
        "hosts: {me: {address: 127.0.0.1, gpus: 2}}\ntasks: {chief: {gpus: 1}, worker: {gpus: 1}}\n"
    )
    lacks = f"launch: me: has no GPU 1, which worker:0 shall have; {has}"
    refused(launching, launching.run(*SHOW), lacks)
    refused(launching, launching.run("check", "--hosts"), lacks)
    launching.cluster(AUTO.replace("{gpus: 1}", "{gpus: 2}"))
    few = launching.run(*SHOW)
    assert (few.code, few.err.strip()) == (
        2,
        "launch: cluster.yaml:1 hosts.me.gpus: chief:0 wants 2 of the GPUs of me, which has 1 left",
    )  # fmt: skip
    assert launching.run("check", "--hosts").code == 2


def test_a_single_task(fake: Fake, launching: Launching) -> None:
    """`--single` takes a GPU that nothing uses; where all are used it says by what."""
    fake.uses(0)
    assert launching.run("--single", *SHOW).code == 0
    assert launching.log("chief-0") == b"1\n"
    fake.uses(0, 1)
    full = launching.run("--single", *SHOW)
    assert full.code == 3 and "is used by /opt/bin/python3 (pid 424" in full.err


def test_parts_of_a_gpu_are_passed_on(fake: Fake, launching: Launching) -> None:
    """A part of a GPU (MIG), which nvidia-smi does not list so, is given by its name."""
    launching.cluster(ONE.replace("gpus: 1}}", "gpus: [MIG-8a6b]}}", 1))
    done = launching.run(*SHOW)
    assert done.code == 0, done.err
    assert launching.log("chief-0") == b"MIG-8a6b\n"


@pytest.mark.parametrize("words", [["hosts", "--json"], ["check", "--hosts"]])
def test_a_light_installation(fake: Fake, launching: Launching, words: list[str]) -> None:
    """Processes need none of what containers need, for looking at this machine neither."""
    launching.cluster(ONE)
    code = "import sys; sys.modules.update(dict.fromkeys(('docker', 'paramiko', 'rich')))\n"
    code += f"from launcher.cli import main\nsys.exit(main({words!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=launching.env, cwd=launching.folder, capture_output=True,
        text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if words[0] == "hosts":
        (host,) = json.loads(done.stdout)["hosts"]
        assert [gpu["uuid"] for gpu in host["gpus"]] == [GPU.format(0), GPU.format(1)]


def test_a_driver_that_fails_is_shown(fake: Fake, launching: Launching) -> None:
    """`launch hosts` says that nvidia-smi fails, and with what."""
    fake.has(0)
    launching.cluster(ONE)
    assert "GPUs  no answer  nvidia-smi fails (No devices were found)" in launching.run("hosts").out
    (host,) = json.loads(launching.run("hosts", "--json").out)["hosts"]
    assert host["gpus_problem"] == "nvidia-smi fails (No devices were found)"


def refused(launching: Launching, done: Done, words: str) -> None:
    assert done.code == 3 and words in done.err, done.err
    assert not (launching.folder / "runs").exists(), "something was started"
