"""A plan performed: the run directory made, the tasks supervised, the report shown."""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

from launcher import supervision
from launcher.backends import Backend
from launcher.cli import say_error
from launcher.cli.command import Command
from launcher.errors import HostError
from launcher.logs import Console
from launcher.places import Replan
from launcher.plan import Plan
from launcher.run import Outcome
from launcher.runs import RunDirectory, last_attempt
from launcher.supervisor import Result, Supervisor
from launcher.task import TaskId

EXIT_CODES = {
    Outcome.SUCCEEDED: 0,
    Outcome.SAVED: 0,
    Outcome.FAILED: 1,
    Outcome.NOT_STARTED: 3,
    Outcome.NOT_FORMED: 3,
    Outcome.HOST_LOST: 3,
    Outcome.STALLED: 124,
    Outcome.TIMED_OUT: 124,
    Outcome.INTERRUPTED: 130,
    Outcome.TERMINATED: 143,
}


def perform(
    plan: Plan,
    make_backend: Callable[[Console], Backend],
    replan: Replan | None,
    asked: Command,
    *,
    adopted: Mapping[TaskId, int] | None = None,
    stop: bool = False,
    as_json: bool,
    console: type[Console] = Console,
) -> int:
    """Run a plan to its end and report; return the exit code.

    adopted: of a run that another launcher began, each task's latest attempt.
    stop: whether to end it at once, its state saved.
    console: what shows the logs.

    Raises:
        InputError, HostError: nothing was started.
    """
    gc.freeze()  # what was imported stays
    gc.enable()
    stream = sys.stderr if as_json else sys.stdout
    result = _perform(plan, make_backend, replan, asked, adopted, stop, stream, console)
    try:
        _show(result, as_json=as_json)
        sys.stdout.flush()
    except OSError:  # nobody reads any more (`launch … | head`): the run's end stays its own
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return _exit_code(result)


def _exit_code(result: Result) -> int:
    """Return the outcome's code; a run whose results are not home has not wholly succeeded."""
    code = EXIT_CODES[result.run.outcome] if result.run.outcome else 1
    return code or (3 if result.home.problems else 0)


def _perform(
    plan: Plan,
    make_backend: Callable[[Console], Backend],
    replan: Replan | None,
    asked: Command,
    adopted: Mapping[TaskId, int] | None,
    stop: bool,
    stream: TextIO,
    console: type[Console],
) -> Result:
    directory = RunDirectory(plan.run_dir, again=asked.goes_on or asked.is_detached)
    with supervision.hold(plan.run_dir):
        if adopted is None or not (directory.path / "plan.json").exists():
            directory.write("plan.json", plan.to_dict())
        if adopted is None and not asked.is_job:
            directory.write("command.json", asked.to_dict())
        supervisor = _supervisor(plan, make_backend, replan, adopted, directory, stream, console)
        if stop:
            supervisor.ask_to_stop()
        with supervisor.listening():
            result = supervisor.run()
            from launcher import report  # a run has begun sooner without it

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
    from launcher import report

    if as_json:
        import json

        print(json.dumps(report.to_dict(result), indent=2, ensure_ascii=False))
    else:
        print(report.to_text(result))


def _supervisor(
    plan: Plan,
    make_backend: Callable[[Console], Backend],
    replan: Replan | None,
    adopted: Mapping[TaskId, int] | None,
    directory: RunDirectory,
    stream: TextIO,
    console_type: type[Console],
) -> Supervisor:
    tasks = [container.task for container in plan.tasks]
    terminal = stream.isatty()
    console = console_type(
        stream.fileno(),
        tasks,
        colour=terminal and not os.environ.get("NO_COLOR"),
        on_marker=lambda task, fields: supervisor.note(task, _at_home(plan, task, fields)),
        on_output=lambda: supervisor.note_output(),
        on_closed=lambda: _say_closed(plan),
        terminal=terminal,
    )
    strategy = f", {plan.strategy.value}" if plan.cluster else ""
    console.say(f"{plan.run_id}: {', '.join(map(str, tasks))}{strategy}")
    for note in plan.notes:
        console.say(f"note: {note}")
    backend, first = make_backend(console), last_attempt(directory.path) + 1
    supervisor = Supervisor(
        plan, backend, directory, console, replan=replan, first_attempt=first, adopted=adopted
    )
    return supervisor


def _at_home(plan: Plan, task: TaskId, fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return a marker's fields with its path as it will be here once the results are home."""
    path = fields.get("path")
    return {**fields, "path": plan.at_home(task, path)} if isinstance(path, str) else fields
