"""Jobs as Slurm tells of them: by stand-ins for its programs, without any Slurm."""

from pathlib import Path
from typing import Any

import pytest

from launcher.cli.job_run import make_ready
from launcher.errors import HostError
from launcher.platforms import State
from launcher.platforms.slurm import Slurm
from launcher.platforms.slurm.jobs import STATES
from launcher.platforms.slurm.jobs import Job as SlurmJob
from launcher.platforms.slurm.settings import KEPT, STOP_ASKED, Settings, read_kept
from tests.platforms.test_slurm_script import RUN, prepared, request


class Programs:
    """Stand-ins for Slurm's programs: a shell script each, no Slurm behind them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "bin"
        self._folder.mkdir()
        self.path = f"{self._folder}:/usr/bin:/bin"
        self.runs = folder / "runs"
        self.environ = {"PATH": self.path, "LAUNCH_RUNS": str(self.runs)}
        invalid = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
        self.says(squeue=f'case "$*" in *--me*) ;; *) {invalid};; esac', sacct="exit 1",
                  scancel=f"echo \"$@\" >>{folder}/cancelled", sbatch="echo 81")  # fmt: skip

    def says(self, **scripts: str) -> None:
        """Have programs do something else."""
        for name, script in scripts.items():
            (self._folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (self._folder / name).chmod(0o755)

    def queued(self, job: str, said: str, run: str = RUN) -> None:
        """Have squeue know one job."""
        fields = (job, said, "", "", "", "", "", "", f"launch:{run}", self.runs / run / "job.sh")
        self.says(squeue="printf '%s\\n' '" + "\x1f".join(map(str, fields)) + "'")

    def platform(self, **settings: Any) -> Slurm:
        """Return the platform of these programs."""
        return Slurm(Settings(**settings), self.environ)

    def submit(self, **settings: Any) -> Path:
        """Submit a run; return its folder."""
        platform = self.platform(**settings)
        run_dir = self.runs / RUN
        platform.submit(platform.prepare(request("tasks: {worker: {}}\n", str(run_dir))))
        return run_dir


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Stand-ins for Slurm's programs on $PATH; they take a job, and know none."""
    made = Programs(tmp_path)
    monkeypatch.setenv("PATH", made.path)
    return made


# submitting


def test_what_the_job_is_told(programs: Programs, tmp_path: Path) -> None:
    """The run's folder holds what was asked for, whole and unreadable for others."""
    text = "env: {API_TOKEN: s3cret, N: '1'}\ntasks: {chief: {gpus: 1, args: [-v]}, worker: {}}\n"
    made = prepared(text, str(tmp_path / RUN))
    assert "s3cret" not in made.text() + str(made.to_dict())
    programs.platform().submit(made)
    assert (tmp_path / RUN / KEPT).stat().st_mode & 0o777 == 0o600
    kept = read_kept(str(tmp_path / RUN))
    assert kept.spec._replace(source=made.kept.spec.source, hosts=made.kept.spec.hosts) == (
        made.kept.spec
    )
    assert kept._replace(spec=made.kept.spec) == made.kept


def test_what_sbatch_is_started_with(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What --dry-run shows is what is sent, whatever sbatch would read elsewhere."""
    monkeypatch.setenv("SBATCH_OUTPUT", "/tmp/x")
    programs.environ["SBATCH_OUTPUT"] = "/tmp/x"
    programs.says(sbatch=f"env >{tmp_path}/env; echo '81;lab'")
    programs.submit()
    assert "SBATCH_OUTPUT" not in (tmp_path / "env").read_text()
    assert programs.platform().jobs()[0].id == "81"


@pytest.mark.parametrize("path", ["", "/nowhere"], ids=["refused", "missing"])
def test_what_was_not_submitted_leaves_nothing(programs: Programs, path: str) -> None:
    """Where Slurm takes no job there is no run's folder either."""
    programs.says(sbatch="echo 'sbatch: error: invalid partition' >&2; exit 1")
    programs.environ["PATH"] = path or programs.path
    with pytest.raises(HostError, match=r"invalid partition|sbatch: no such program here"):
        programs.submit()
    assert list(programs.runs.iterdir()) == []


def test_an_answer_that_is_no_number(programs: Programs) -> None:
    """A job without a number could never be asked after."""
    programs.says(sbatch="echo")
    with pytest.raises(HostError, match="sbatch: expected a job's number, got ''"):
        programs.submit()


@pytest.mark.parametrize(
    ("report", "asked", "said", "state"),
    [
        ("", False, "FAILED", State.FAILED),
        ("", True, "CANCELLED", State.STOPPED),
        ("succeeded", True, "COMPLETED", State.SUCCEEDED),
        ("stopped, its state is saved", False, "COMPLETED", State.STOPPED),
        ("host lost", False, "FAILED", State.FAILED),
    ],
)
def test_a_job_that_slurm_forgot(
    programs: Programs, report: str, asked: bool, said: str, state: State
) -> None:
    """It has ended, whether it left a report or not: nobody waits for it, and it can go."""
    run_dir = programs.submit()
    if report:
        (run_dir / "report.json").write_text(f'{{"outcome": "{report}"}}')
    if asked:
        (run_dir / STOP_ASKED).touch()
    platform = programs.platform()
    (job,) = platform.jobs()
    assert (job.id, job.said, job.state) == ("81", said, state)
    assert list(platform.logs("81", follow=True)) == []
    platform.stop("81")
    platform.delete("81")
    assert platform.jobs() == []


def test_a_job_of_another_user(programs: Programs) -> None:
    """What --me does not show is not taken for ended while Slurm knows it."""
    programs.submit()
    programs.queued("81", "RUNNING")
    squeue = (Path(programs.path.split(":")[0]) / "squeue").read_text()
    programs.says(squeue=f'case "$*" in *--me*) exit;; esac\n{squeue}')
    assert programs.platform().jobs() == []


def test_stopping_a_job_that_waits(programs: Programs, tmp_path: Path) -> None:
    """That it was asked for outlives Slurm's memory; where Slurm refuses, it was not asked for."""
    run_dir = programs.submit()
    programs.queued("81", "PENDING")
    programs.platform().stop("81")
    assert (tmp_path / "cancelled").read_text() == "81\n"
    assert (run_dir / STOP_ASKED).exists()
    (run_dir / STOP_ASKED).unlink()
    programs.says(scancel="echo 'Access/permission denied' >&2; exit 1")
    for said in ("PENDING", "RUNNING"):
        programs.queued("81", said)
        with pytest.raises(HostError, match="permission denied"):
            programs.platform().stop("81")
        assert not (run_dir / STOP_ASKED).exists()


def test_a_script_submitted_by_hand(programs: Programs) -> None:
    """A part of the run that sbatch was given by hand is known from when it begins."""
    run_dir = programs.submit()
    (run_dir / "report.json").write_text('{"outcome": "stopped, its state is saved"}')
    (run_dir / STOP_ASKED).touch()
    make_ready(run_dir, "82")
    (job,) = programs.platform().jobs()
    assert (job.id, job.state) == ("82", State.FAILED)  # it has not told of an end


def test_a_job_whose_number_cannot_be_kept(programs: Programs) -> None:
    """The error has the number: the job is there."""
    programs.says(sbatch='mkdir "${2%/*}/slurm.json"; echo 81')
    with pytest.raises(HostError, match=r"slurm.json: .*the run was submitted as job 81"):
        programs.submit()


# states


def test_every_state_of_slurm_is_known() -> None:
    """Its words for a job (squeue's manual) have one of ours; others are shown as they are."""
    said = ("BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL "
            "OUT_OF_MEMORY PENDING PREEMPTED RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD "
            "REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED "
            "TIMEOUT")  # fmt: skip
    assert set(said.split()) <= set(STATES)
    assert SlurmJob("1", Path("/none"), "NEW_WORD").state is State.UNKNOWN


@pytest.mark.parametrize(
    ("said", "outcome", "asked", "state"),
    [
        ("RUNNING", "", False, State.RUNNING),
        ("RUNNING", "", True, State.STOPPING),
        ("COMPLETED", "succeeded", False, State.SUCCEEDED),
        ("COMPLETED", "stopped, its state is saved", True, State.STOPPED),
        ("FAILED", "terminated", True, State.STOPPED),
        ("FAILED", "", True, State.STOPPED),
        ("FAILED", "failed", True, State.FAILED),
        ("FAILED", "stopped, its state is saved", False, State.FAILED),
        ("TIMEOUT", "", False, State.FAILED),
        ("PENDING", "stopped, its state is saved", False, State.PENDING),
    ],
)
def test_what_the_runs_folder_adds(
    tmp_path: Path, said: str, outcome: str, asked: bool, state: State
) -> None:
    """A job that ended is stopped where its run's report says so, or somebody asked for it."""
    if outcome:
        (tmp_path / "report.json").write_text(f'{{"outcome": "{outcome}"}}')
    if asked:
        (tmp_path / STOP_ASKED).touch()
    assert SlurmJob("1", tmp_path, said).state is state
