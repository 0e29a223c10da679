"""The small changes to a run that everything decided of it is made of. Pure, as `lifecycle` is."""

from collections.abc import Iterable

from launcher import strategy as rules
from launcher.events import Command, Exited, Lost, Start, Started, StartFailed, Stop
from launcher.run import (
    Attempt,
    Outcome,
    Phase,
    Restart,
    Run,
    coordinators,
)
from launcher.strategy import Role
from launcher.task import TaskId

REPORT_S = 1.0  # how long the peers of a failed MultiWorkerMirrored task may still report

Step = tuple[Run, tuple[Command, ...]]


def current(run: Run, event: Started | StartFailed | Exited | Lost) -> Attempt | None:
    """Return the attempt that an event is of, if it is the current one and has not ended."""
    attempt = run.tasks.get(event.task)
    same = attempt is not None and attempt.number == event.attempt and not attempt.is_final
    return attempt if same else None


def changed(run: Run, task: TaskId, **changes: object) -> Run:
    """Return the run with another state of one task's attempt."""
    attempt = run.tasks[task]._replace(**changes)  # type: ignore[arg-type]
    return run._replace(tasks={**run.tasks, task: attempt})


def stop(run: Run, outcome: Outcome, at: float) -> Step:
    """Begin to end the run: every living task is asked to, none is started any more.

    After success the evaluator first gets the time to evaluate the last checkpoint. Where the
    user asks, a chief that others serve is asked first: it needs them to save.
    """
    run = run._replace(phase=Phase.STOPPING, outcome=outcome, pending=(), dumping_until=None)
    later: tuple[TaskId, ...] = ()
    if outcome is Outcome.SUCCEEDED:
        later = tuple(task for task in run.living if rules.may_fail(task))
    elif run.first_failure is None and any(run.tasks[t].lives for t in coordinators(run)):
        later = tuple(t for t in run.living if rules.role(run.strategy, t.type) is Role.SERVE)
    for task in later:
        run = changed(run, task, ask_at=at + run.timeouts.grace_s)
    return end_all(run, (task for task in run.living if task not in later), at)


def end_all(run: Run, tasks: Iterable[TaskId], at: float) -> Step:
    """End tasks: those that are deaf to signals at once, the others by asking."""
    todo = tuple(tasks)
    if run.is_forming:
        deaf = tuple(task for task in todo if not rules.may_fail(task))
        run, killed = kill(run, deaf)
        run, asked = ask_to_end(run, (task for task in todo if task not in deaf), at)
        return run, (*killed, *asked)
    return ask_to_end(run, todo, at)


def end_later(run: Run, tasks: Iterable[TaskId], at: float) -> Run:
    """Let tasks be for a moment before they are ended: one that fails itself is told by that."""
    for task in tasks:
        if run.is_forming:
            run = changed(run, task, kill_at=at + REPORT_S)
        else:
            run = changed(run, task, ask_at=at + REPORT_S)
    return run


def end_now(run: Run, tasks: Iterable[TaskId], at: float) -> Run:
    """Wait no longer with the end of tasks that were let be for a moment."""
    for task in tasks:
        attempt = run.tasks[task]
        if attempt.lives and not attempt.asked:
            run = changed(
                run,
                task,
                ask_at=None if attempt.ask_at is None else at,
                kill_at=None if attempt.kill_at is None else at,
            )
    return run


def ask_to_end(run: Run, tasks: Iterable[TaskId], at: float) -> Step:
    """Ask tasks to end, and set the time at which they are killed."""
    commands = []
    for task in tasks:
        run = changed(run, task, asked=True, ask_at=None, kill_at=at + _patience_s(run, task))
        commands.append(Stop(task, run.tasks[task].number, kill=False))
    return run, tuple(commands)


def kill(run: Run, tasks: Iterable[TaskId]) -> Step:
    """Kill tasks with all that they have started."""
    commands = []
    for task in tasks:
        run = changed(run, task, asked=True, ask_at=None, kill_at=None)
        commands.append(Stop(task, run.tasks[task].number, kill=True))
    return run, tuple(commands)


def _patience_s(run: Run, task: TaskId) -> float:
    """Return how long a task may take to end: a dead gang's members have nothing to save."""
    if run.at_once:
        return 0.0
    gang_is_lost = run.first_failure is not None or run.is_ending(task)
    if gang_is_lost and rules.role(run.strategy, task.type) is not Role.EVALUATE:
        return REPORT_S if rules.is_deaf(run.strategy, task) else run.timeouts.grace_s
    return run.timeouts.grace_s


def started_anew(run: Run, restart: Restart, at: float) -> Step:
    """Return the run with tasks that none of lives on their way again."""
    anew = any(failure.needs_places for failure in restart.failures)
    commands = []
    tasks = dict(run.tasks)
    for task in run.tasks:
        if task in restart.tasks:
            number = tasks[task].number + 1
            tasks[task] = Attempt(number)
            commands.append(Start(task, number, anew))
    run = run._replace(tasks=tasks, pending=tuple(r for r in run.pending if r is not restart))
    if restart.tasks >= set(run.members):  # the cluster forms again
        run = run._replace(formed_at=None, first_up_at=None)
    elif run.is_forming:
        run = run._replace(first_up_at=at)  # the others wait for it from now on
    best = max(run.best_step, run.step if run.step is not None else -1)
    alive_at = None if run.formed_at is None else at
    run = run._replace(dumping_until=None, looking_until=None)  # it was of those that ended
    return run._replace(best_step=best, alive_at=alive_at), tuple(commands)
