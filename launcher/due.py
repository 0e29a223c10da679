"""What is due in a run as time passes: limits, stalls, kills and restarts. Pure, too."""

from launcher import recovery
from launcher import strategy as rules
from launcher.changes import Step, ask_to_end, changed, kill, started_anew, stop
from launcher.events import Command, DumpStacks, Exited, Looked, LookForLife
from launcher.run import Outcome, Phase, Restart, Run, TaskState, coordinators
from launcher.signs import Cause
from launcher.strategy import Role
from launcher.task import TaskId

_LOOK_S = 20.0  # for all hosts to say whether event files grow: longer than one is waited for
_DUMP_S = 3.0  # for tasks that make no progress, to write where they are
_PATIENCE_S = 600.0  # without a step, where steps are told and no limit is set
_PATIENCE_STEPS = 20.0  # the same, in the longest time between two signs of progress


def wake_at(run: Run) -> float | None:
    """Return when the next `Tick` is due, or None while only events can change anything."""
    living = [attempt for attempt in run.tasks.values() if attempt.lives]
    times = [at for a in living for at in (a.ask_at, a.kill_at) if at is not None]
    if run.phase is Phase.RUNNING:
        times += [a.missed_at for a in run.tasks.values() if a.missed_at is not None]
        times += [r.at for r in run.pending if r.at is not None and not _is_held(run, r)]
        limits = [run.deadline, run.start_deadline, run.looking_until, run.dumping_until]
        limits += [_stalled_at(run)] if run.looking_until is None else []
        times += [limit for limit in limits if limit is not None]
    return min(times, default=None)


def due(run: Run, at: float) -> Step:
    """Return the run with everything done that is due at `at`."""
    commands: tuple[Command, ...] = ()
    before = None
    while run is not before:  # one thing done may make another due
        before = run
        for act in (_limits, _missed, _stalls, _ends, _kills, _restarts):
            run, more = act(run, at)
            commands += more
    return run, commands


def _limits(run: Run, at: float) -> Step:
    if run.phase is not Phase.RUNNING:
        return run, ()
    if run.deadline is not None and at >= run.deadline:
        return stop(run, Outcome.TIMED_OUT, at)
    if run.start_deadline is not None and at >= run.start_deadline:
        return stop(run, Outcome.NOT_FORMED, at)
    return run, ()


def _missed(run: Run, at: float) -> Step:
    """Take servers that ended well before their chief for failed, and so an evaluator."""
    for task, attempt in run.tasks.items():
        if run.phase is not Phase.RUNNING or attempt.missed_at is None or at < attempt.missed_at:
            continue
        run = changed(run, task, missed_at=None)
        if is_needed(run, task) and not run.is_ending(task):
            early = Exited(at, task, attempt.number, 0, cause=Cause.ENDED_EARLY)
            run = changed(run, task, state=TaskState.FAILED, cause=Cause.ENDED_EARLY)
            return recovery.failed(run, early)
    return run, ()


def _stalled_at(run: Run) -> float | None:
    """Return when a run that has made no progress since its last sign of life has stalled."""
    if run.alive_at is None or run.pending or run.dumping_until is not None:
        return None
    if run.timeouts.stalled_s is not None:
        return run.alive_at + run.timeouts.stalled_s
    if run.step is None or run.total is None or run.step >= run.total:
        return None
    return run.alive_at + max(_PATIENCE_S, _PATIENCE_STEPS * run.longest_step_s)


def _stalls(run: Run, at: float) -> Step:
    """Have a run that makes no progress say where it is, and then take it down."""
    if run.phase is not Phase.RUNNING:
        return run, ()
    if run.dumping_until is not None and at >= run.dumping_until:
        return recovery.stalled(run._replace(dumping_until=None), at)
    if run.looking_until is not None:
        return looked(run, Looked(at, None)) if at >= run.looking_until else (run, ())
    if run.step is None and _has_stalled(run, at):
        return run._replace(looking_until=at + _LOOK_S), (LookForLife(),)
    return _asked_where(run, at)


def looked(run: Run, event: Looked) -> Step:
    """Return what follows from what was seen of the event files of tasks that tell nothing."""
    run = run._replace(looking_until=None)
    if run.alive_at is not None and event.life_at is not None:
        run = run._replace(alive_at=max(run.alive_at, event.life_at))
        spared = run._replace(dumping_until=None)
        if not _has_stalled(spared, event.at):  # an answer that came late
            return spared, ()
    return _asked_where(run, event.at)


def _has_stalled(run: Run, at: float) -> bool:
    stalled_at = _stalled_at(run)
    return run.phase is Phase.RUNNING and stalled_at is not None and at >= stalled_at


def _asked_where(run: Run, at: float) -> Step:
    """Have every task say where it is, where the run has stalled."""
    if not _has_stalled(run, at):
        return run, ()
    dumps = tuple(DumpStacks(t, run.tasks[t].number) for t in run.living)
    return run._replace(dumping_until=at + _DUMP_S), dumps


def _ends(run: Run, at: float) -> Step:
    asked = tuple(t for t in run.living if (ask := run.tasks[t].ask_at) is not None and at >= ask)
    return ask_to_end(run, asked, at)


def _kills(run: Run, at: float) -> Step:
    doomed = (t for t in run.living if (end := run.tasks[t].kill_at) is not None and at >= end)
    return kill(run, tuple(doomed))


def _restarts(run: Run, at: float) -> Step:
    """Start again what has been taken down, once none of it lives and its time has come."""
    commands: tuple[Command, ...] = ()
    for restart in run.pending:
        if run.phase is not Phase.RUNNING:
            break
        if any(not run.tasks[task].is_final for task in restart.tasks) or _is_held(run, restart):
            continue
        if restart.at is None:
            run, more = recovery.judged(run, restart, at)
            commands += more
        elif at >= restart.at:
            run, more = started_anew(run, restart, at)
            commands += more
    return run, commands


def _is_held(run: Run, restart: Restart) -> bool:
    """Whether an evaluator is to wait for a place until those of the cluster have theirs."""
    if not any(failure.needs_places for failure in restart.failures):
        return False
    if not all(rules.may_fail(task) for task in restart.tasks):
        return False
    ending = {task for other in run.pending for task in other.tasks}
    return any(t in ending or run.tasks[t].state is TaskState.WAITING for t in run.members)


def is_needed(run: Run, task: TaskId) -> bool:
    """Whether a task that ended with 0 was still to do something.

    A server is while it has a chief that lives, or will again; an evaluator while not all steps
    were made, where it is told how many there are.
    """
    if rules.may_fail(task):
        return run.step is not None and run.total is not None and run.step < run.total
    if rules.role(run.strategy, task.type) is not Role.SERVE:
        return False
    return any(not run.tasks[t].is_final or run.is_ending(t) for t in coordinators(run))
