"""Runs on a real Slurm, whose nodes are hosts of the testbed: from `launch submit` to their end."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Launching, until
from tests.testbed import Testbed, Unavailable
from tests.testbed.slurm import Slurm

pytestmark = pytest.mark.testbed

FAKE = Path(__file__).resolve().parents[1] / "chaos/fake_trainer.py"
MWMS = "tasks: {chief: {}, worker: {}}\n"
PSS = "tasks: {chief: {}, worker: {count: 2}, ps: {}}\n"
BOTH = pytest.mark.parametrize("tasks", [MWMS, PSS], ids=["mwms", "pss"])
ON = ("--platform", "slurm")


@pytest.fixture(scope="module")
def cluster(testbed: Testbed) -> Iterator[Slurm]:
    """A Slurm of all hosts of the testbed."""
    try:
        made = Slurm.up(testbed)
    except Unavailable as lack:
        pytest.skip(str(lack))
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def slurm(cluster: Slurm) -> Iterator[Slurm]:
    """That Slurm, with all nodes idle before and after."""
    yield cluster
    cluster.clear()


class Submitting:
    """Submits a run of the stand-in, or of anything, and watches its job."""

    def __init__(self, launching: Launching, slurm: Slurm) -> None:
        self.launching, self.slurm = launching, slurm
        launching.env.update(slurm.environ)
        self.job = ""

    def submit(self, cluster: str, *words: str, nodes: int = 2) -> str:
        """Submit a run on some nodes; return the job's number."""
        rest = f"timeouts: {{grace_s: 5}}\nplatforms: {{slurm: {{time: 10, nodes: {nodes}}}}}\n"
        self.launching.cluster(cluster + rest)
        done = self.launching.run("submit", *ON, *words)
        assert (done.code, done.err) == (0, "")
        self.job = done.out.split()[-1]
        return self.job

    def fake(self, cluster: str, steps: int, nodes: int = 2) -> str:
        """Submit a run of the stand-in for a trainer."""
        return self.submit(cluster, "--uai-args", str(FAKE), f"--steps={steps}", nodes=nodes)

    def verb(self, verb: str, *words: str) -> dict[str, Any]:
        """Return what a verb says of the job."""
        done = self.launching.run("submit", verb, *ON, self.job, "--json", *words)
        assert (done.code, done.err) == (0, "")
        said: dict[str, Any] = json.loads(done.out)
        return said

    @property
    def run_dir(self) -> Path:
        return self.launching.run_dir()

    @property
    def said(self) -> str:
        """What the launcher in the job has said."""
        return "".join(path.read_text() for path in self.run_dir.glob("slurm-*.out"))

    def printed(self, task: str = "chief-0") -> str:
        """Return all that a task has printed in all of its attempts."""
        logs = sorted((self.run_dir / "logs").glob(f"{task}.*.log"))
        return "".join(log.read_text() for log in logs)

    def await_step(self, step: int, attempt: int = 1) -> None:
        """Return once the chief has told of a step."""
        log = self.run_dir / f"logs/chief-0.{attempt}.log"
        mark = f'"step": {step},'
        until(lambda: log.exists() and mark in log.read_text(), f"step {step}")

    def await_end(self, *, state: str = "succeeded") -> None:
        """Return once the job has ended as it should."""
        self.launching.run("submit", "logs", "-f", *ON, self.job)
        assert self.verb("status")["state"] == state, self.said

    def begins(self) -> list[int]:
        """Return the step at which each attempt of the chief began."""
        return [int(step) for step in re.findall(r"^\d+ from (\d+)$", self.printed(), re.M)]

    def stops(self) -> list[int]:
        """Return the step at which the chief saved and ended, each time."""
        return [int(step) for step in re.findall(r"^\d+ stopped at (\d+)$", self.printed(), re.M)]

    def hosts(self) -> set[str]:
        """Return the nodes of the run's present part."""
        plan = json.loads((self.run_dir / "plan.json").read_text())
        return {task["host"] for task in plan["tasks"]}

    def kill(self, task: str) -> None:
        """Kill the process of a task, whatever stands around it."""
        wanted = [b"python", str(FAKE).encode(), f"output/{task}".encode()]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                is_it = wanted[1] == words[1] and any(w.endswith(wanted[2]) for w in words)
                if is_it and str(self.run_dir).encode() in b" ".join(words):
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, IndexError):
                continue


@pytest.fixture
def submitting(launching: Launching, slurm: Slurm) -> Submitting:
    """Submits runs from an empty folder that all nodes share."""
    return Submitting(launching, slurm)


def test_tasks_with_their_own_gpus_and_ports(submitting: Submitting, slurm: Slurm) -> None:
    """Tasks on one node have GPUs and ports of their own, or no GPU; TF_CONFIG names the nodes."""
    job = submitting.submit(
        "tasks: {chief: {}, worker: {count: 3, gpus: 1}}\n",
        *("--", "sh", "-c", 'echo "$SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES"; echo "$TF_CONFIG"'),
    )
    submitting.await_end()
    places, addresses = [], set[str]()
    for task in ("chief-0", "worker-0", "worker-1", "worker-2"):
        _, place, config = submitting.printed(task).splitlines()
        places.append(tuple(place.split(":")))
        addresses.update(a for each in json.loads(config)["cluster"].values() for a in each)
    (_, of_chief), *of_workers = places
    assert of_chief == "" and len(set(of_workers)) == 3
    assert {gpu for _, gpu in of_workers} == {"0", "1"}
    assert {node for node, _ in places} == submitting.hosts() == set(slurm.nodes[:2])
    assert len(addresses) == 4
    assert {a.rpartition(":")[0] for a in addresses} == slurm.addresses(submitting.hosts())
    listed = submitting.launching.run("submit", "list", *ON, "--json")
    (one,) = (each for each in json.loads(listed.out)["jobs"] if each["id"] == job)
    name = submitting.run_dir.name
    assert (one["name"], one["state"], one["said"]) == (name, "succeeded", "COMPLETED")


@BOTH
def test_a_killed_task(submitting: Submitting, tasks: str) -> None:
    """The supervisor in the job starts again what the strategy demands, from the checkpoint."""
    submitting.fake(tasks, 40)
    submitting.await_step(12)
    submitting.kill("worker-0")
    submitting.await_end()
    assert submitting.begins() == ([0, 10] if tasks == MWMS else [0])
    assert "starting" in submitting.said
    done = submitting.launching.run("submit", "logs", *ON, submitting.job)
    assert "worker:0 | " in done.out and "@launch" not in done.out
    assert f"{submitting.run_dir.name}: succeeded after" in done.out


def test_a_drained_node_and_a_requeued_job(submitting: Submitting, slurm: Slurm) -> None:
    """A run goes on where its node is drained; queued again it goes on elsewhere, where it was."""
    submitting.fake(MWMS, 60)
    submitting.await_step(8)
    drained = slurm.nodes[1]
    assert drained in submitting.hosts()
    slurm.run("scontrol", "update", f"nodename={drained}", "state=drain", "reason=test")
    submitting.await_step(16)
    slurm.run("scontrol", "requeue", submitting.job)
    slurm.hurry(submitting.job)
    submitting.await_end()
    (stopped,) = submitting.stops()
    assert 16 <= stopped < 60 and submitting.begins() == [0, stopped]
    assert drained not in submitting.hosts()


def test_a_preempted_job(submitting: Submitting, slurm: Slurm) -> None:
    """A job of a higher priority takes the nodes; the run saves its state and goes on later."""
    submitting.fake(PSS, 60, nodes=len(slurm.nodes))
    submitting.await_step(12)
    slurm.run("srun", "--partition=first", "--exclusive", f"--nodes={len(slurm.nodes)}", "true")
    slurm.hurry(submitting.job)
    submitting.await_end()
    (stopped,) = submitting.stops()
    assert stopped >= 12 and submitting.begins() == [0, stopped]


def test_a_job_near_its_end(submitting: Submitting, slurm: Slurm) -> None:
    """At Slurm's warning, a SIGTERM to the script alone, the run saves and queues itself again."""
    submitting.fake(MWMS, 40)
    submitting.await_step(12)
    slurm.run("scancel", "--batch", "--signal=TERM", submitting.job)
    slurm.hurry(submitting.job)
    submitting.await_end()
    (stopped,) = submitting.stops()
    assert stopped >= 12 and submitting.begins() == [0, stopped]
    assert f"job {submitting.job} is queued again; the run goes on then" in submitting.said


def test_stopped_and_submitted_again(submitting: Submitting, slurm: Slurm) -> None:
    """`submit stop` has the state saved; the kept script goes on from there; then all can go."""
    job = submitting.fake(PSS, 30)
    submitting.await_step(12)
    for verb, said in (("stop", f"submit stop --platform slurm {job}"), ("resume", "sbatch /")):
        done = submitting.launching.run(verb, "last")
        assert done.code == 2 and f"is Slurm's job {job}; expected: " in done.err
        assert said in done.err
    assert submitting.verb("stop")["state"] in ("stopping", "stopped")
    submitting.await_end(state="stopped")
    assert submitting.verb("status")["said"] == "COMPLETED"
    submitting.job = slurm.run("sbatch", "--parsable", str(submitting.run_dir / "job.sh"))
    submitting.await_end()
    assert submitting.begins() == [0, *submitting.stops()]
    assert submitting.launching.run("submit", "delete", *ON, submitting.job).code == 0
    done = submitting.launching.run("submit", "status", *ON, submitting.job)
    assert done.code == 2 and "no such job of a run" in done.err
    assert submitting.printed()


@BOTH
def test_a_cancelled_job(submitting: Submitting, slurm: Slurm, tasks: str) -> None:
    """Slurm's own scancel, which signals everything, has the state saved too."""
    submitting.fake(tasks, 600)
    submitting.await_step(7)
    slurm.run("scancel", submitting.job)
    submitting.await_end(state="stopped")
    assert submitting.verb("status")["said"] == "CANCELLED"
    assert submitting.stops() and "stopped, its state is saved" in submitting.said


def test_a_job_that_waits(submitting: Submitting, slurm: Slurm) -> None:
    """A job that has not begun is pending, with Slurm's reason, is refused to delete, and stops."""
    slurm.run("scontrol", "update", f"nodename={','.join(slurm.nodes)}", "state=drain", "reason=t")
    submitting.fake(MWMS, 10)
    status = submitting.verb("status")
    assert (status["state"], status["said"]) == ("pending", "PENDING")
    assert "reason" in status["details"]
    done = submitting.launching.run("submit", "delete", *ON, submitting.job)
    assert done.code == 2 and "is pending; expected a job that has ended" in done.err
    assert submitting.verb("stop")["state"] == "stopped"


def test_a_refusal(launching: Launching, slurm: Slurm) -> None:
    """What sbatch refuses is said in its words, and nothing was submitted."""
    launching.env.update(slurm.environ)
    launching.cluster(f"{MWMS}platforms: {{slurm: {{partition: gone}}}}\n")
    done = launching.run("submit", *ON, "--", "true")
    assert done.code == 3 and "invalid partition specified: gone" in done.err, done.err
    assert str(launching.folder) not in launching.run("submit", "list", *ON, "--json").out


def test_a_program_that_is_not_there(submitting: Submitting) -> None:
    """A task that cannot begin fails the job, and the report says why."""
    submitting.submit(MWMS, "--", "no-such-program")
    submitting.await_end(state="failed")
    assert "no-such-program" in submitting.said


def test_in_a_container(submitting: Submitting) -> None:
    """The image's runtime gets the task's command and environment; this Apptainer is a fake."""
    fake = """#!/bin/sh
# A fake of Apptainer: no container, but what it was asked for.
echo "fake apptainer: $*"
while [ "$1" != python ]; do shift; done
shift
TF_CONFIG=$APPTAINERENV_TF_CONFIG exec "$PYTHON" "$@"
"""
    submitting.launching.write("bin/apptainer", fake)
    env = submitting.launching.env
    env["PATH"] = f"{submitting.launching.folder}/bin:{env['PATH']}"
    env["PYTHON"] = sys.executable
    text = (
        f"image: lab/fake:1\n{MWMS}timeouts: {{grace_s: 5}}\n"
        "platforms: {slurm: {nodes: 2, container: apptainer}}\n"
    )
    submitting.launching.cluster(text)
    done = submitting.launching.run("submit", *ON, "--uai-args", str(FAKE), "--steps=5")
    submitting.job = done.out.split()[-1]
    submitting.await_end()
    printed = submitting.printed("worker-0")
    assert "fake apptainer: exec --cleanenv" in printed and "docker://lab/fake:1" in printed
    assert "did 5" in printed


@pytest.mark.tensorflow
@pytest.mark.parametrize("tasks", [MWMS, f"{MWMS[:-2]}, ps: {{}}}}\n"], ids=["mwms", "pss"])
def test_tensorflow(submitting: Submitting, tasks: str) -> None:
    """mnist_dist trains on two nodes, and its chief's model comes into the run's folder."""
    submitting.submit(tasks, "mnist_dist", "--epochs=1", "--max_step=20")
    submitting.await_end()
    assert (submitting.run_dir / "output/chief-0/mnist.keras").is_file(), submitting.said
    assert len(submitting.hosts()) == 2
