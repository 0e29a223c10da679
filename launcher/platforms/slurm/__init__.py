"""Slurm as a platform: a script for sbatch, and the jobs that came of it.

The run's folder lies in one that this machine and the nodes share, as Slurm's users have it. The
job runs `launch submit inside` on its first node, which supervises the run as any launcher does
(docs/decisions/0016-slurm.md).
"""

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launcher.cluster import Backend
from launcher.errors import HostError, InputError, Problem
from launcher.layout import Layout
from launcher.platforms import Line, Request, State, Submitted
from launcher.platforms.slurm import script
from launcher.platforms.slurm.options import sbatch_environ
from launcher.platforms.slurm.settings import (
    KEPT,
    STOP_ASKED,
    STOP_SIGNAL,
    SUBMITTED,
    Kept,
    note_job,
)
from launcher.platforms.slurm.settings import Settings as _Settings

_LOOK_S = 1.0


class Prepared(NamedTuple):
    """What is sent: the script, by a command; and what the run's folder tells the job."""

    run: str
    run_dir: str
    script: str
    command: tuple[str, ...]
    kept: Kept

    def text(self) -> str:
        """Return script and command as a person reads them."""
        return f"{self.script}\n# submitted by: {shlex.join(self.command)}"

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {"run": self.run, "run_dir": self.run_dir, "script": self.script,
                "command": list(self.command)}  # fmt: skip


class Slurm:
    """The Slurm cluster of this machine, by its own programs."""

    Settings = _Settings

    def __init__(self, settings: _Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._runs = Path(os.path.abspath(environ.get("LAUNCH_RUNS") or "runs"))

    def prepare(self, request: Request) -> Prepared:
        """Return the script and how it is submitted."""
        settings = self._settings
        if problems := tuple(script.problems(request, settings)):
            raise InputError(problems)
        image = (settings.image or request.spec.image) if settings.container else None
        request = _as_in_image(request) if request.code_in_image else request
        kept = Kept(request.run_id, request.job, request.spec, settings.container, image,
                    settings.requeue, request.code_in_image)  # fmt: skip
        text = script.script(request, settings, settings.python or sys.executable)
        command = ("sbatch", "--parsable", f"{request.run_dir}/{script.FILE}")
        return Prepared(request.run_id, request.run_dir, text, command, kept)

    def submit(self, prepared: Prepared) -> Submitted:
        """Write the run's folder, and submit its script; what Slurm refuses leaves no folder."""
        from launcher.platforms.slurm.commands import Missing, Refused, run

        folder = Path(prepared.run_dir)
        try:
            folder.mkdir(parents=True)
            (folder / script.FILE).write_text(prepared.script, encoding="utf-8")
            _write_private(folder / KEPT, json.dumps(prepared.kept.to_dict()))
        except OSError as error:
            raise HostError(f"{folder}: cannot be written: {error.strerror}") from None
        environ = sbatch_environ(self._environ, script.options_of(prepared.script))
        try:
            answer = run(prepared.command, environ).strip()
        except (Refused, Missing):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        job_id = answer.partition(";")[0]
        if not job_id.isdecimal():
            raise HostError(f"sbatch: expected a job's number, got {answer!r}")
        try:
            note_job(folder, job_id)
        except OSError as error:
            what = f"cannot be written: {error.strerror}; the run was submitted as job {job_id}"
            raise HostError(f"{folder / SUBMITTED}: {what}") from None
        return Submitted(job_id, prepared.run, State.PENDING, "PENDING", time.time())

    def jobs(self) -> Sequence[Submitted]:
        """Return the jobs of this user that are runs, the oldest first."""
        from launcher.platforms.slurm import jobs

        return [job.submitted() for job in jobs.jobs(self._runs)]

    def job(self, job_id: str) -> Submitted:
        """Return how a job stands."""
        from launcher.platforms.slurm import jobs

        return jobs.job(job_id, self._runs).submitted()

    def logs(self, job_id: str, *, follow: bool) -> Iterator[Line]:
        """Yield what the launcher said in the job and what the tasks printed."""
        from launcher.platforms.slurm import jobs, output

        asked_at = 0.0
        over = False

        def is_over() -> bool:
            nonlocal asked_at, over
            if time.monotonic() >= asked_at + _LOOK_S:
                over = self.job(job_id).state.is_final
                asked_at = time.monotonic()
            return over

        yield from output.lines(jobs.job(job_id, self._runs).run_dir, is_over, follow=follow)

    def stop(self, job_id: str) -> None:
        """Have the run save its state and end; a job that has not begun is cancelled."""
        from launcher.platforms.slurm import jobs
        from launcher.platforms.slurm.commands import Refused, run

        job = jobs.job(job_id, self._runs)
        if job.state.is_final:
            return
        asked = job.run_dir / STOP_ASKED
        was_asked = asked.exists()
        with contextlib.suppress(OSError):  # of another user's; Slurm says what it thinks of that
            asked.touch()
        signalling = ["--batch", f"--signal={STOP_SIGNAL.name[3:]}"]
        try:
            run(["scancel", *(signalling if job.said == "RUNNING" else ()), job_id])
        except HostError as error:
            if not was_asked:
                with contextlib.suppress(OSError):
                    asked.unlink(missing_ok=True)
            is_refused = isinstance(error, Refused)
            if not (is_refused and jobs.job(job_id, self._runs).state.is_final):
                raise  # else it has ended just now

    def delete(self, job_id: str) -> None:
        """Remove what was kept for the job; the run's logs and results stay."""
        from launcher.platforms.slurm import jobs

        job = jobs.job(job_id, self._runs)
        if not job.state.is_final:
            raise InputError(Problem(job_id, f"is {job.state}; expected a job that has ended"))
        for name in (script.FILE, KEPT, STOP_ASKED, SUBMITTED):
            (job.run_dir / name).unlink(missing_ok=True)


def _as_in_image(request: Request) -> Request:
    """Return a request whose script is the one that the image has."""
    spec = request.spec._replace(backend=Backend.DOCKER)
    command = Layout.of(spec, request.job, "", "", "python").command
    job = request.job._replace(script=command[1]) if command else request.job
    return request._replace(job=job, spec=request.spec._replace(code=None))


def _write_private(path: Path, text: str) -> None:
    """Write what only its owner may read: the environment of tasks may hold secrets."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w",
              encoding="utf-8") as file:  # fmt: skip
        file.write(text + "\n")
