"""A run in its Slurm job, from what the job was given to its end, or to where it goes on later.

Standard output is the job's own file, which gets the launcher's words alone: what tasks print is
in the run's logs.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.cli import say_error
from launcher.cli.arguments import Words
from launcher.cli.command import Command
from launcher.cli.perform import perform
from launcher.errors import HostError
from launcher.logs import Console, Show
from launcher.placement import Moves, moved
from launcher.plan import Plan, plan
from launcher.platforms.slurm.allocation import Allocation
from launcher.platforms.slurm.settings import STOP_ASKED, STOP_SIGNAL, Kept, note_job
from launcher.platforms.slurm.step import FILE, SCRIPT, Places, binds
from launcher.platforms.slurm.steps import StepBackend
from launcher.run import Outcome
from launcher.task import TaskId


def run(kept: Kept, allocation: Allocation, run_dir: str) -> int:
    """Perform a run as steps of the job; return its exit code."""
    make_ready(Path(run_dir), allocation.job_id)
    wish = _Wish(Path(run_dir))
    made = _plan(kept, allocation, run_dir)
    places = Places(made, kept.container, kept.image or "", binds(kept, run_dir),
                    allocation.binds_cpus)  # fmt: skip
    asked = Command(Words({}, [], False), kept.job.cwd, goes_on=True, is_job=True)
    code = perform(
        made,
        lambda _console: StepBackend(places, allocation),
        lambda moves: _plan(kept, Allocation.read(os.environ), run_dir, moves),
        asked,
        as_json=False,
        console=QuietConsole,
    )
    if kept.requeue and not wish.is_end and _is_to_go_on(run_dir, allocation):
        say_error(f"launch: job {allocation.job_id} is queued again; the run goes on then")
        allocation.requeue()
    return code


class _Wish:
    """Whether somebody has asked for the end: by a signal, as a file of another machine is seen
    late where the folder is NFS's. The file is for those who ask how the job stands."""

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / STOP_ASKED
        self.is_end = False
        signal.signal(STOP_SIGNAL, self._ask)

    def _ask(self, *_: object) -> None:
        self.is_end = True
        with contextlib.suppress(OSError):
            self._file.touch()
        os.kill(os.getpid(), signal.SIGTERM)


def make_ready(run_dir: Path, job_id: str) -> None:
    """Write what the steps run, and as which job: sbatch may have been given the script by hand.

    How an earlier part ended, and that its end was asked for, is over. Raises HostError.
    """
    try:
        (run_dir / STOP_ASKED).unlink(missing_ok=True)
        (run_dir / "report.json").unlink(missing_ok=True)
        (run_dir / FILE).write_text(SCRIPT, encoding="utf-8")
        note_job(run_dir, job_id)
    except OSError as error:
        raise HostError(f"{run_dir}: cannot be written: {error.strerror}") from None


def _plan(
    kept: Kept,
    allocation: Allocation,
    run_dir: str,
    moves: Moves | None = None,
) -> Plan:
    spec = kept.spec._replace(python=kept.spec.python or ("python" if kept.container else None))
    spec = allocation.placed(moved(spec, moves) if moves else spec)
    return plan(spec, kept.job, kept.run, allocation.facts(len(spec.tasks)), run_dir=run_dir,
                python=sys.executable)  # fmt: skip


def _is_to_go_on(run_dir: str, allocation: Allocation) -> bool:
    """Whether the run was stopped because the job's time is nearly over, its state being saved.

    A job that Slurm ends is no more running. A part of the run that came to no step is no reason
    for another.
    """
    report = _report(run_dir)
    has_saved = report.get("outcome") == Outcome.SAVED.value and report.get("step") is not None
    return has_saved and allocation.goes_on()


def _report(run_dir: str) -> Mapping[str, object]:
    try:
        report: Mapping[str, object] = json.loads(Path(run_dir, "report.json").read_text())
    except (OSError, ValueError):
        return {}
    return report


class QuietConsole(Console):
    """A console that reads logs for what they tell the supervisor, and shows none of it."""

    def follow(self, task: TaskId, path: str, show: Show | None = None) -> None:
        """Read a task's log file as it grows."""
        super().follow(task, path, show or (lambda _lines: b""))
