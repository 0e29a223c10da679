"""The jobs of runs, as Slurm tells of them and, once it has forgotten them, as their folders do.

Slurm forgets a job minutes after its end (MinJobAge) unless it has an accounting database, which
is asked where there is one. A run's folder is found by the script that its job was submitted with,
or, of a forgotten job, below the folder of all runs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from launcher.errors import HostError, InputError, Problem
from launcher.platforms import State, Submitted
from launcher.platforms.slurm.commands import Refused, run
from launcher.platforms.slurm.script import COMMENT
from launcher.platforms.slurm.settings import STOP_ASKED, SUBMITTED, job_of
from launcher.run import Outcome

_SEPARATOR = "\x1f"
_FIELDS = "iTVrNPMlko"  # squeue's letters
_PATTERN = _SEPARATOR.join(f"%{letter}" for letter in _FIELDS)

STATES: Mapping[str, State] = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
                     "RESV_DEL_HOLD"), State.PENDING),
    **dict.fromkeys(("CONFIGURING", "POWER_UP_NODE"), State.STARTING),
    **dict.fromkeys(("RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"), State.RUNNING),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT"), State.STOPPING),
    "COMPLETED": State.SUCCEEDED,
    **dict.fromkeys(("CANCELLED", "PREEMPTED", "REVOKED"), State.STOPPED),
    **dict.fromkeys(("FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE",
                     "LAUNCH_FAILED", "RECONFIG_FAIL"), State.FAILED),
}  # fmt: skip
_STOPPED = (Outcome.SAVED, Outcome.INTERRUPTED, Outcome.TERMINATED)


class Job(NamedTuple):
    """A job of ours, in Slurm's words."""

    id: str
    run_dir: Path
    said: str
    since: float | None = None
    details: Mapping[str, str] = {}

    @property
    def state(self) -> State:
        """Where it stands; how a run ended, its own report says better than an exit code."""
        state = STATES.get(self.said, State.UNKNOWN)
        stop_asked = (self.run_dir / STOP_ASKED).exists()
        if state is State.RUNNING and stop_asked:
            return State.STOPPING
        if self.said in ("COMPLETED", "FAILED"):
            outcome = self.outcome
            if self.said == "FAILED" and outcome is Outcome.SAVED:
                return state  # the report is of an earlier part: with a saved state a job completes
            if outcome in _STOPPED or (outcome is None and stop_asked):
                return State.STOPPED
        return state

    @property
    def outcome(self) -> Outcome | None:
        """How the run's last part ended, by its report; None without one."""
        try:
            return Outcome(json.loads((self.run_dir / "report.json").read_text())["outcome"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def submitted(self) -> Submitted:
        """Return it as every platform tells of a job."""
        details = {**self.details, "folder": str(self.run_dir)}
        if self.outcome and self.state.is_final:
            details["outcome"] = self.outcome.value
        return Submitted(self.id, self.run_dir.name, self.state, self.said, self.since, details)


def jobs(runs: Path) -> list[Job]:
    """Return this user's jobs that are runs of ours, the oldest first. Raises HostError."""
    there = {job.id: job for job in _queued("--me") if not _is_deleted(job)}
    kept = [number for number in _kept(runs) if number not in there]
    of_others = {job.id for job in _known(kept)}
    forgotten = (number for number in kept if number not in of_others)
    found = [*there.values(), *(_forgotten(number, runs) for number in forgotten)]
    return sorted(found, key=lambda job: (job.since or 0.0, job.id))


def job(job_id: str, runs: Path) -> Job:
    """Return one job.

    Raises:
        InputError: there is no such job, or it is none of ours.
        HostError: Slurm does not answer.
    """
    if job_id.isdecimal():
        found = [job for job in _known([job_id]) if not _is_deleted(job)]
        if found:
            return found[0]
        if job_id in _kept(runs):
            return _forgotten(job_id, runs)
    what = f"no such job of a run; expected one that Slurm knows, or whose run is in {runs}"
    raise InputError(Problem(job_id, what))


def _known(numbers: Sequence[str]) -> list[Job]:
    """Return those of some jobs of runs that Slurm has not forgotten, whosever they are."""
    if not numbers:
        return []
    try:
        return list(_queued(f"--jobs={','.join(numbers)}"))
    except Refused as refusal:
        if "Invalid job id" not in str(refusal):
            raise
        return []


def _queued(which: str) -> Iterator[Job]:
    said = run(["squeue", "--noheader", "--states=all", which, f"--format={_PATTERN}"])
    for line in said.splitlines():
        fields = dict(zip(_FIELDS, line.split(_SEPARATOR), strict=False))
        if not fields.get("k", "").startswith(COMMENT) or "o" not in fields:
            continue
        details = {"partition": fields["P"], "nodes": fields["N"], "reason": fields["r"],
                   "time": f"{fields['M']} of {fields['l']}"}  # fmt: skip
        shown = {name: text for name, text in details.items() if text not in ("", "None")}
        yield Job(fields["i"], Path(fields["o"]).parent, fields["T"], _time(fields["V"]), shown)


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _is_deleted(job: Job) -> bool:
    """Whether a user has done with a job that Slurm has not forgotten."""
    final = STATES.get(job.said, State.UNKNOWN).is_final
    return final and job.run_dir.is_dir() and not (job.run_dir / SUBMITTED).exists()


def _kept(runs: Path) -> Mapping[str, Path]:
    """Return the folders below `runs` of submitted runs, by the job's number."""
    folders = (path.parent for path in runs.glob(f"*/{SUBMITTED}"))
    return {number: folder for folder in folders if (number := job_of(folder))}


def _forgotten(job_id: str, runs: Path) -> Job:
    """Return a job that Slurm's controller has forgotten: it has ended, with a report or without.

    A job may leave none: cancelled before it began, out of memory, its node lost.
    """
    run_dir = _kept(runs)[job_id]
    job = Job(job_id, run_dir, _accounted(job_id), (run_dir / SUBMITTED).stat().st_mtime)
    if job.said:
        return job
    if job.outcome in (Outcome.SUCCEEDED, Outcome.SAVED):
        return job._replace(said="COMPLETED")
    is_cancelled = job.outcome is None and (run_dir / STOP_ASKED).exists()
    return job._replace(said="CANCELLED" if is_cancelled else "FAILED")


def _accounted(job_id: str) -> str:
    """Return the state of a job in the accounting database; nothing where there is none."""
    asked = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State", "-j", job_id]
    try:
        said = run(asked).split()
    except HostError:
        return ""
    return said[0] if said else ""
