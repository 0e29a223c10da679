"""`launch submit` and its verbs on a platform of another package, found by its entry point."""

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Launching

_PLATFORM = '''
import json, os
from typing import NamedTuple
from launcher.errors import HostError, InputError, Problem
from launcher.platforms import Line, State, Submitted

class Settings(NamedTuple):
    """A folder as a platform.

    folder: Where its jobs are.
    count: How many.
    """
    folder: str = "jobs"
    count: int = 1

class Prepared(NamedTuple):
    name: str
    argv: tuple

    def text(self):
        return f"{self.name}: {' '.join(self.argv)}"

    def to_dict(self):
        return self._asdict()

class Folder:
    Settings = Settings

    def __init__(self, settings, environ):
        self.settings = settings

    def prepare(self, request):
        if not request.spec.image:
            raise InputError(Problem("image", "a folder runs nothing else"))
        return Prepared(request.run_id, (request.job.name, *request.job.args))

    def submit(self, prepared):
        os.makedirs(self.settings.folder, exist_ok=True)
        job = {"state": "running", "name": prepared.name}
        self._write("job-1", job)
        return self.job("job-1")

    def jobs(self):
        return [self.job(n) for n in sorted(os.listdir(self.settings.folder))]

    def job(self, job_id):
        try:
            with open(os.path.join(self.settings.folder, job_id)) as file:
                job = json.load(file)
        except FileNotFoundError:
            raise InputError(Problem(job_id, "no such job")) from None
        if job["state"] == "lost":
            raise HostError("the folder does not answer")
        if job.get("next"):  # a state that lasts until it was seen
            self._write(job_id, {**job, "state": job["next"], "next": ""})
        return Submitted(job_id, job["name"], State(job["state"]), job.get("said", ""), 0.0)

    def logs(self, job_id, *, follow):
        yield Line("chief:0", "one \\x1b[31mred")
        yield Line("", "two")

    def stop(self, job_id):
        self._write(job_id, {"state": "stopped", "name": "n"})

    def delete(self, job_id):
        os.remove(os.path.join(self.settings.folder, job_id))

    def _write(self, job_id, job):
        with open(os.path.join(self.settings.folder, job_id), "w") as file:
            json.dump(job, file)
'''


@pytest.fixture
def folder(launching: Launching, tmp_path: Path) -> Launching:
    """A launcher that knows a platform of another package, named `folder`."""
    package = tmp_path / "package"
    info = package / "folder_platform-1.dist-info"
    info.mkdir(parents=True)
    (package / "folder_platform.py").write_text(_PLATFORM)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-platform\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[launch.platforms]\nfolder = folder_platform:Folder\nbroken = folder_platform:Gone\n"
    )
    path = [str(package), str(Path.cwd()), launching.env.get("PYTHONPATH", "")]
    launching.env["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    launching.cluster("image: img\ntasks: {chief: {gpus: 8}, worker: {gpus: 8}}\n")
    launching.write("train.py", "")
    return launching


def test_what_would_be_sent(folder: Launching) -> None:
    """A dry run prints it, as text or JSON, and sends nothing; hosts are the platform's matter."""
    done = folder.run("submit", "--platform", "folder", "--dry-run", "./train.py", "--epochs", "3")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("train-") and done.out.endswith(": train --epochs 3\n")
    done = folder.run("submit", "--platform=folder", "--dry-run", "--json", "./train.py", "-v")
    assert json.loads(done.out)["argv"] == ["train", "-v"]
    assert not {"jobs", "runs"} & {path.name for path in folder.folder.iterdir()}


def test_a_job_from_its_start_to_its_end(folder: Launching) -> None:
    """Submitted, listed, asked after, read, stopped and deleted, by what the platform calls it."""
    done = folder.run("submit", "--platform", "folder", "./train.py")
    assert (done.code, done.err) == (0, "") and done.out.endswith(": submitted as job-1\n")
    on = ("--platform", "folder")
    assert "job-1" in folder.run("submit", "list", *on).out
    (job,) = json.loads(folder.run("submit", "list", *on, "--json").out)["jobs"]
    assert (job["id"], job["state"]) == ("job-1", "running")
    assert folder.run("submit", "status", *on, "job-1").out.rstrip().endswith("running")
    done = folder.run("submit", "logs", *on, "job-1")
    assert done.out == "chief:0 | one ?[31mred\ntwo\n"
    assert folder.run("submit", "stop", *on, "job-1").out == "job-1: stopped\n"
    assert folder.run("submit", "delete", *on, "job-1").code == 0
    assert folder.run("submit", "list", *on).out == "no jobs\n"
    done = folder.run("submit", "status", *on, "job-1")
    assert (done.code, done.err) == (2, "launch: job-1: no such job\n")


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("stopped", 143)])
def test_waiting(folder: Launching, state: str, code: int) -> None:
    """Followed to its end, a job gives the command its exit code."""
    jobs = folder.folder / "jobs"
    folder.run("submit", "--platform", "folder", "./train.py")
    (jobs / "job-1").write_text(json.dumps({"state": state, "name": "n", "said": "Odd"}))
    done = folder.run("submit", "logs", "-f", "--platform", "folder", "job-1")
    assert (done.code, done.err) == (code, "")


def test_waiting_for_what_was_just_submitted(folder: Launching) -> None:
    """`--wait` tells each state, and ends with the job's own code."""
    folder.cluster("image: img\ntasks: {worker: {}}\nplatforms: {folder: {folder: ../else}}\n")
    with_next = _PLATFORM.replace('"name": prepared.name}', '"name": "n", "next": "failed"}')
    assert with_next != _PLATFORM
    package = folder.env["PYTHONPATH"].split(os.pathsep)[0]
    Path(package, "folder_platform.py").write_text(with_next)
    done = folder.run("submit", "--platform", "folder", "--wait", "./train.py")
    assert done.code == 1, done.err
    assert done.err == "launch: job-1: failed\n"
    assert (folder.folder / "../else/job-1").is_file()


def test_all_that_is_wrong_at_once(folder: Launching) -> None:
    """Trainer, file and platform settings are checked before anything is sent, all together."""
    folder.cluster("image: img\nplatforms:\n  folder: {folder: f, cuont: 2}\ntasks: {chef: {}}\n")
    done = folder.run("submit", "--platform", "folder", "./trian.py")
    assert done.code == 2
    assert "./trian.py: no such script" in done.err
    assert "cluster.yaml:3 platforms.folder.cuont: unknown key, did you mean 'count'?" in done.err
    assert "cluster.yaml:4 tasks.chef: unknown key, did you mean 'chief'?" in done.err
    assert not (folder.folder / "f").exists()


def test_no_words(folder: Launching) -> None:
    """`launch pack` alone says how it is used, as `launch submit` does."""
    done = folder.run("pack")
    assert (done.code, done.out) == (2, "") and done.err.startswith("usage: launch pack")


def test_a_job_that_is_listed_late(folder: Launching) -> None:
    """A job that its platform does not know yet is waited for all the same."""
    package = folder.env["PYTHONPATH"].split(os.pathsep)[0]
    late = _PLATFORM.replace(
        "    def job(self, job_id):\n",
        "    looks = 0\n    def job(self, job_id):\n"
        "        self.looks += 1\n"
        "        if self.looks == 2:\n"
        "            raise InputError(Problem(job_id, 'no such job'))\n",
    ).replace('"name": prepared.name}', '"name": "n", "next": "succeeded"}')
    Path(package, "folder_platform.py").write_text(late)
    done = folder.run("submit", "--platform", "folder", "--wait", "./train.py")
    assert (done.code, done.err) == (0, "launch: job-1: running\nlaunch: job-1: succeeded\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run", "./train.py"], "--platform: expected the NAME of a platform"),
        (["--platform", "foldr", "./train.py"], "no such platform, did you mean 'folder'?"),
        (["--platform", "broken", "./train.py"], "--platform broken: cannot be loaded"),
        (["--platfrom", "folder", "./train.py"], "did you mean '--platform'?"),
        (["--platform", "folder"], "expected a TRAINER"),
        (["status", "--platform", "folder"], "submit status: expected the JOB"),
        (["./train.py", "--platform", "folder"], "expected the NAME of a platform, before TRAINER"),
        ([], "usage: launch submit --platform NAME"),
    ],
)
def test_wrong_words(folder: Launching, words: list[str], said: str) -> None:
    """What is wrong on the command line is said with what was expected; the code is 2."""
    done = folder.run("submit", *words)
    assert done.code == 2 and said in done.err, done.err


def test_settings_are_checked_with_the_file(folder: Launching) -> None:
    """`launch check` names what is wrong below `platforms` too, of every platform that is there."""
    folder.cluster(
        "tasks: {chief: {}, wroker: {}}\n"
        "platforms:\n  folder: {count: two}\n  slrum: {}\n  slurm: {tiem: 1}\n"
    )
    done = folder.run("check")
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.split()[1] for line in lines] == [
        "cluster.yaml:1", "cluster.yaml:3", "cluster.yaml", "cluster.yaml:5",
    ]  # fmt: skip
    assert "platforms.folder.count: expected an integer, got 'two'" in lines[1]
    assert "platforms.slrum: no such platform, did you mean 'slurm'?" in lines[2]
    assert "platforms.slurm.tiem: unknown key, did you mean 'time'?" in lines[3]
