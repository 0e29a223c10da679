"""A plan performed: the run directory made, the tasks supervised, the report shown."""

import gc
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from launcher import claims, report
from launcher.backends import process
from launcher.cli import say_error
from launcher.cluster import Backend
from launcher.errors import HostError, InputError
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
    with claims.ports(c.address.port for c in plan.tasks if plan.cluster):
        result = _perform(plan, sys.stderr if as_json else sys.stdout)
    try:
        _show(result, as_json=as_json)
        sys.stdout.flush()
    except OSError:  # nobody reads any more (`launch … | head`): the run's end stays its own
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return EXIT_CODES[result.run.outcome] if result.run.outcome else 1


def _perform(plan: Plan, stream: TextIO) -> Result:
    directory = RunDirectory(plan.run_dir)
    directory.write("plan.json", plan.to_dict())
    supervisor = _supervisor(plan, directory, stream)
    with supervisor.listening():
        result = supervisor.run()
        _keep(directory, report.to_dict(result))
    return result


def _say_closed(plan: Plan) -> None:
    what = "nobody reads standard output any more; the run goes on, its logs are in"
    say_error(f"launch: {what} {plan.run_dir}/logs")


def _keep(directory: RunDirectory, summary: Mapping[str, object]) -> None:
    """Write the report into the run directory, or say why it cannot be."""
    directory.close()
    try:
        directory.write("report.json", summary)
    except HostError as error:
        print(f"launch: {error}", file=sys.stderr)
    if directory.problem:
        print(f"launch: {directory.problem}", file=sys.stderr)


def _show(result: Result, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(report.to_dict(result), indent=2, ensure_ascii=False))
    else:
        print(report.to_text(result))


def _supervisor(plan: Plan, directory: RunDirectory, stream: TextIO) -> Supervisor:
    observed = Observed()
    tasks = [container.task for container in plan.tasks]
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    console = Console(
        stream.fileno(),
        tasks,
        colour=colour,
        on_marker=lambda _task, fields: observed.note(fields),
        on_closed=lambda: _say_closed(plan),
    )
    strategy = f", {plan.strategy.value}" if plan.cluster else ""
    console.say(f"{plan.run_id}: {', '.join(map(str, tasks))}{strategy}")
    for note in plan.notes:
        console.say(f"note: {note}")
    backend = process.ProcessBackend(plan, os.environ)
    return Supervisor(plan, backend, directory, console, observed)
