"""A plan performed: the run directory made, the tasks supervised, the report shown."""

import gc
import os
import sys
from collections.abc import Mapping

from launcher import report
from launcher.backends import process
from launcher.cluster import Backend
from launcher.errors import InputError
from launcher.lifecycle import Outcome
from launcher.logs import Console
from launcher.plan import Plan
from launcher.runs import RunDirectory
from launcher.supervisor import Observed, Result, Supervisor
from launcher.task import TaskId

EXIT_CODES = {
    Outcome.SUCCEEDED: 0,
    Outcome.FAILED: 1,
    Outcome.NOT_STARTED: 3,
    Outcome.TIMED_OUT: 124,
    Outcome.INTERRUPTED: 130,
    Outcome.TERMINATED: 143,
}


def perform(plan: Plan, fixed_ports: Mapping[TaskId, int], *, as_json: bool) -> int:
    """Run a plan to its end and report; return the exit code.

    Raises:
        InputError, HostError: nothing was started.
    """
    gc.enable()
    if plan.backend is not Backend.PROCESS:
        raise InputError("backend docker: this version starts processes only (--dry-run works)")
    process.check(plan, fixed_ports)
    directory = RunDirectory(plan.run_dir)
    directory.write("plan.json", plan.to_dict())
    result = _supervise(plan, directory, sys.stderr.fileno() if as_json else sys.stdout.fileno())
    summary = report.to_dict(result)
    directory.write("report.json", summary)
    directory.close()
    if as_json:
        import json

        print(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        print(report.to_text(result))
    return EXIT_CODES[result.run.outcome] if result.run.outcome else 1


def _supervise(plan: Plan, directory: RunDirectory, fd: int) -> Result:
    observed = Observed()
    tasks = [container.task for container in plan.tasks]
    colour = os.isatty(fd) and not os.environ.get("NO_COLOR")
    console = Console(
        fd, tasks, colour=colour, on_marker=lambda _task, fields: observed.note(fields)
    )
    strategy = f", {plan.strategy.value}" if plan.cluster else ""
    console.say(f"{plan.run_id}: {', '.join(map(str, tasks))}{strategy}")
    for note in plan.notes:
        console.say(f"note: {note}")
    backend = process.ProcessBackend(plan, os.environ)
    return Supervisor(plan, backend, directory, console, observed).run()
