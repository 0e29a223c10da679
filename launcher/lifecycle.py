"""The life of a run, decided: events in, commands out, nothing else.

`step(run, event)` is a pure function. Every event carries the time at which it was seen, so the
same history always gives the same commands; there is no clock, thread or process here. The
supervisor performs the commands and feeds what follows from them back as events.

A run goes RUNNING → STOPPING → FINISHED. It stops because every task that decides has succeeded,
because one failed and starting it again cannot help, because the user asked, or because its time
is up; the reason is the outcome. What a failure takes down, and when that starts again, is
`recovery`'s to say.
"""

from collections.abc import Mapping

from launcher import recovery
from launcher import strategy as rules
from launcher.changes import (
    Step,
    ask_to_end,
    changed,
    current,
    kill,
    stop,
)
from launcher.cluster import Restarts, Timeouts
from launcher.due import due, is_needed, looked
from launcher.events import (
    Adopt,
    Event,
    Exited,
    Looked,
    Lost,
    Progressed,
    Start,
    Started,
    StartFailed,
    StopAsked,
    Tick,
    Up,
)
from launcher.run import (
    Attempt,
    Outcome,
    Phase,
    Run,
    TaskState,
    coordinators,
)
from launcher.signs import Cause
from launcher.strategy import Strategy
from launcher.task import TaskId

#: The exit code of a task that stopped as asked, with its state saved.
SAVED = 42

_NO_RESTARTS = Restarts(max=0)
_EARLY_S = 10.0  # what ended with 0 this long before what it is there for was still needed


def begin(
    tasks: tuple[TaskId, ...],
    strategy: Strategy,
    timeouts: Timeouts,
    at: float,
    restarts: Restarts = _NO_RESTARTS,
    first_attempt: int = 1,
) -> Step:
    """Return a new run and the commands that start it."""
    deadline = None if timeouts.run_s is None else at + timeouts.run_s
    attempts = dict.fromkeys(tasks, Attempt(first_attempt))
    run = Run(strategy, timeouts, attempts, restarts, at, deadline=deadline)
    return run, tuple(Start(task, first_attempt) for task in tasks)


def take_up(
    attempts: Mapping[TaskId, int],
    strategy: Strategy,
    timeouts: Timeouts,
    at: float,
    restarts: Restarts,
) -> Step:
    """Return a run that another launcher has begun, and the commands that take it up.

    attempts: of each task the number of its latest attempt, in whatever state.
    """
    tasks = {task: Attempt(number) for task, number in attempts.items()}
    run = Run(strategy, timeouts, tasks, restarts, at, has_settled=True)
    return run, tuple(Adopt(task, number) for task, number in attempts.items())


def step(run: Run, event: Event) -> Step:
    """Return the run after `event`, and what must be done now.

    An event of an attempt that is not the current one, or that has ended already, changes
    nothing.
    """
    if run.phase is Phase.FINISHED:
        return run, ()
    match event:
        case Started():
            run, commands = _started(run, event)
        case StartFailed():
            run, commands = _start_failed(run, event)
        case Exited():
            run, commands = _exited(run, event)
        case Lost():
            run, commands = _lost(run, event)
        case Up():
            run, commands = _up(run, event), ()
        case Progressed():
            run, commands = _progressed(run, event), ()
        case Looked():
            run, commands = looked(run, event)
        case StopAsked():
            run, commands = _stop_asked(run, event)
        case Tick():
            commands = ()
    run, commands_due = due(run, event.at)
    return _finished(run), (*commands, *commands_due)


# events


def _started(run: Run, event: Started) -> Step:
    attempt = current(run, event)
    if attempt is None or attempt.lives:
        return run, ()
    run = changed(run, event.task, state=TaskState.RUNNING, started_at=event.at)
    if run.phase is Phase.STOPPING:  # it was on its way when the run stopped
        return ask_to_end(run, (event.task,), event.at)
    if run.is_ending(event.task):
        return kill(run, (event.task,))
    if not run.has_cluster:
        return _up(run, Up(event.at, event.task, event.attempt)), ()
    return run, ()


def _start_failed(run: Run, event: StartFailed) -> Step:
    attempt = current(run, event)
    if attempt is None:
        return run, ()
    if run.phase is Phase.RUNNING and attempt.number > 1:
        return recovery.not_started(run, event)
    run = changed(
        run, event.task, state=TaskState.NOT_STARTED, ended_at=event.at, reason=event.reason
    )
    if run.phase is not Phase.RUNNING or rules.may_fail(event.task):
        return run, ()
    return stop(run._replace(first_failure=event.task), Outcome.NOT_STARTED, event.at)


def _exited(run: Run, event: Exited) -> Step:
    attempt = current(run, event)
    if attempt is None:
        return run, ()
    if run.phase is not Phase.RUNNING or event.code == 0 or run.is_ending(event.task):
        run = _ended(run, event)
        if run.phase is Phase.RUNNING:
            return _after_success(run, event.task, event.at)
        return _after_coordinator(run, event.task, event.at)
    if event.code == SAVED and rules.decides(run.strategy, event.task):
        return recovery.saved(_ended(run, event), event)
    return recovery.failed(_ended(run, event), event)


def _ended(run: Run, event: Exited) -> Run:
    """Return the run with an attempt that has ended."""
    attempt = run.tasks[event.task]
    run = changed(
        run,
        event.task,
        state=_end_state(run, attempt, event.code, event.cause),
        ended_at=event.at if event.ended_at is None else event.ended_at,
        code=event.code,
        reason=event.reason,
        cause=event.cause if event.code else None,
        is_up=False,
    )
    by_itself = not attempt.asked or not event.cause.is_curable
    if run.is_ending(event.task) and event.code and by_itself:
        run = recovery.failed_too(run, event)
    return run


def _end_state(
    run: Run, attempt: Attempt, code: int | None, cause: Cause = Cause.UNKNOWN
) -> TaskState:
    if code == 0:
        return TaskState.SUCCEEDED
    if code == SAVED:
        return TaskState.STOPPED
    if run.first_failure is not None or (run.pending and not _is_cause(run, attempt, cause)):
        return TaskState.CONSEQUENCE
    return TaskState.STOPPED if attempt.asked else TaskState.FAILED


def _is_cause(run: Run, attempt: Attempt, cause: Cause) -> bool:
    """Whether an end may be behind all that was seen before it."""
    seen = [failure.cause for restart in run.pending for failure in restart.failures]
    is_own = not attempt.asked and not cause.may_follow
    return is_own and bool(seen) and all(each.may_follow for each in seen)


def _after_success(run: Run, task: TaskId, at: float) -> Step:
    """Return what follows from an end with 0: the run's, where all that decide have come so far."""
    if run.is_ending(task):
        return run, ()
    if is_needed(run, task):
        return changed(run, task, missed_at=at + _EARLY_S), ()
    deciding = [a for t, a in run.tasks.items() if rules.decides(run.strategy, t)]
    if all(attempt.state is TaskState.SUCCEEDED for attempt in deciding):
        return stop(run, Outcome.SUCCEEDED, at)
    return run, ()


def _after_coordinator(run: Run, task: TaskId, at: float) -> Step:
    """Let servers go once nobody needs them to save anything."""
    if task not in coordinators(run):
        return run, ()
    return ask_to_end(run, tuple(t for t in run.living if run.tasks[t].ask_at is not None
                                 and not rules.may_fail(t)), at)  # fmt: skip


def _lost(run: Run, event: Lost) -> Step:
    attempt = current(run, event)
    if attempt is None:
        return run, ()
    run = changed(
        run, event.task,
        state=_end_state(run, attempt, None), ended_at=event.at, reason=event.reason,
        cause=Cause.HOST_UNREACHABLE,
    )  # fmt: skip
    if run.phase is not Phase.RUNNING:
        return _after_coordinator(run, event.task, event.at)
    return recovery.lost(run, event)


def _up(run: Run, event: Up) -> Run:
    attempt = run.tasks.get(event.task)
    if attempt is None or attempt.number != event.attempt or attempt.is_final or attempt.is_up:
        return run
    run = changed(run, event.task, is_up=True)
    if rules.may_fail(event.task) or run.is_ending(event.task):
        return run
    run = run._replace(first_up_at=event.at if run.first_up_at is None else run.first_up_at)
    if run.missing() or run.formed_at is not None:
        return run
    return run._replace(
        formed_at=event.at, alive_at=event.at, has_settled=run.has_settled or run.has_cluster
    )


def _progressed(run: Run, event: Progressed) -> Run:
    """Take in a sign of life; a step beyond those that were ever reached refills the budget."""
    gap_s = event.at - (run.alive_at if run.alive_at is not None else event.at)
    if event.step is None:
        return run if run.step is not None else run._replace(alive_at=event.at)
    run = run._replace(
        step=max(event.step, run.step or 0),
        total=event.total if event.total is not None else run.total,
        alive_at=event.at,
        has_settled=True,
        longest_step_s=max(run.longest_step_s, gap_s if run.step is not None else 0.0),
    )
    return run._replace(used=0) if event.step > run.best_step else run


def _stop_asked(run: Run, event: StopAsked) -> Step:
    if run.phase is Phase.RUNNING:
        return stop(run, event.outcome, event.at)
    run = run._replace(at_once=True)
    for task in run.living:
        run = changed(run, task, asked=True, ask_at=None, kill_at=event.at)
    return run, ()


def _finished(run: Run) -> Run:
    """Return the run, finished once it is stopping and no attempt lives or is on its way."""
    if run.phase is not Phase.STOPPING or any(not a.is_final for a in run.tasks.values()):
        return run
    deciding = [a for t, a in run.tasks.items() if rules.decides(run.strategy, t)]
    saved = all(a.code in (0, SAVED) for a in deciding) and any(a.code == SAVED for a in deciding)
    if saved and run.outcome is Outcome.TERMINATED:
        run = run._replace(outcome=Outcome.SAVED)
    return run._replace(phase=Phase.FINISHED)
