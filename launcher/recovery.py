"""What a failure takes down, whether that starts again, and when. Pure, as `lifecycle` is.

By strategy: one lost task of MultiWorkerMirroredStrategy takes all that train with it; under
parameter servers a lost worker, a lost chief or an evaluator starts again alone, and a lost ps
takes everything with it, as its variables are gone. All go on from the last checkpoint.

A restart costs one of `restarts.max`, whatever failed together; training beyond the step of the
last one refills them. What
an error at the start has ended is not started again where that cannot help.
"""

from launcher import strategy as rules
from launcher.changes import REPORT_S, Step, changed, end_all, end_later, end_now, kill, stop
from launcher.cluster import FailureKind
from launcher.events import Exited, Lost, StartFailed
from launcher.run import SETTLED_S, Failure, Outcome, Restart, Run, TaskState
from launcher.signs import Cause
from launcher.task import TaskId

# What starting again can cure although it ends a task with an error of its own at the start.
_CURABLE_AT_START = frozenset(
    {Cause.PORT_TAKEN, Cause.PEER_LOST, Cause.TRANSPORT, Cause.ENDED_EARLY,
     Cause.HOST_UNREACHABLE, Cause.STALLED}
)  # fmt: skip


def failed(run: Run, event: Exited) -> Step:
    """Return what follows from an attempt that ended with an error, or too early."""
    return _after(run, _failure(run, event), event.at)


def failed_too(run: Run, event: Exited) -> Run:
    """Return the run with the failure of one that is being taken down, and had failed itself."""
    failure = _failure(run, event)
    pending = tuple(
        r._replace(failures=(*r.failures, failure))
        if event.task in r.tasks and r.at is None and not r.is_planned
        else r
        for r in run.pending
    )
    run = run._replace(pending=pending)
    if failure.cause.may_follow:
        return run
    return end_now(run, (task for task in run.living if run.is_ending(task)), event.at)


def _failure(run: Run, event: Exited) -> Failure:
    how = event.words or event.reason
    if event.cause is Cause.ENDED_EARLY:
        how = "ended with 0 while its chief still needed it"
        if rules.may_fail(event.task):
            how = "ended with 0 while training went on"
    kind = FailureKind.SIGNAL if event.code < 0 else FailureKind.EXIT
    at = event.at if event.ended_at is None else event.ended_at
    return Failure(event.task, event.attempt, at, event.cause, kind, how, event.code, run.step)


def lost(run: Run, event: Lost) -> Step:
    """Return what follows from an attempt of which nobody can tell any more how it does."""
    failure = Failure(
        event.task, event.attempt, event.at, Cause.HOST_UNREACHABLE, FailureKind.HOST,
        event.reason, None, run.step,
    )  # fmt: skip
    if not run.restarts.move:
        if rules.may_fail(event.task):
            return run, ()
        return stop(run._replace(first_failure=event.task), Outcome.HOST_LOST, event.at)
    return _after(run, failure, event.at)


def not_started(run: Run, event: StartFailed) -> Step:
    """Return what follows from a restart that did not begin."""
    run = changed(
        run, event.task,
        state=TaskState.NOT_STARTED, ended_at=event.at, reason=event.reason,
    )  # fmt: skip
    failure = Failure(
        event.task,
        event.attempt,
        event.at,
        Cause.HOST_UNREACHABLE if event.has_no_place else Cause.UNKNOWN,
        FailureKind.HOST,
        event.reason,
        None,
        run.step,
    )
    if run.is_ending(event.task):
        return run, ()
    return _after(run, failure, event.at)


def saved(run: Run, event: Exited) -> Step:
    """Return what follows from a task that saved and ended, asked by somebody other than us.

    The others do the same; it costs no restart.
    """
    group = rules.blast_radius(run.strategy, event.task, tuple(run.tasks))
    run = _pending(run, Restart(group))
    for task in group:
        if run.tasks[task].lives and run.tasks[task].ask_at is None:
            run = changed(run, task, ask_at=event.at + run.timeouts.grace_s)
    return run, ()


def stalled(run: Run, at: float) -> Step:
    """Take down everything that makes no progress: which task holds it up cannot be told."""
    deciding = next(t for t in run.tasks if rules.decides(run.strategy, t))
    since_s = at - (run.alive_at if run.alive_at is not None else run.began_at)
    how = f"no progress for {since_s:.0f} s"
    number = run.tasks[deciding].number
    failure = Failure(deciding, number, at, Cause.STALLED, FailureKind.STALLED, how, None, run.step)
    run = run._replace(failures=(*run.failures, failure))
    if not _has_budget(run, failure):
        return stop(run._replace(first_failure=deciding), Outcome.STALLED, at)
    run = _pending(run, Restart(frozenset(run.members), (failure,)))
    return kill(run, (task for task in run.living if not rules.may_fail(task)))


def _after(run: Run, failure: Failure, at: float) -> Step:
    """Take down what a failure takes with it, to start again; or stop where that cannot help."""
    run = run._replace(failures=(*run.failures, failure))
    if rules.may_fail(failure.task):
        return _evaluator_again(run, failure, at)
    may_help = failure.cause.is_consequence or _may_help(run, failure, at)
    if not may_help or not _has_budget(run, failure):
        return stop(run._replace(first_failure=failure.task), _outcome(failure), at)
    run = _pending(run, Restart(_group(run, failure), (failure,)))
    group = next(r.tasks for r in run.pending if failure.task in r.tasks)
    living = tuple(task for task in run.living if task in group)
    if failure.cause.may_follow and not _has_settled(run, at):
        return end_later(run, living, at), ()  # whose end it follows from decides what helps
    return end_all(run, living, at)


def _group(run: Run, failure: Failure) -> frozenset[TaskId]:
    """Return what a failure takes down: where an address will change, all that know it."""
    if failure.needs_places:
        return frozenset(run.members)
    return rules.blast_radius(run.strategy, failure.task, tuple(run.tasks))


def judged(run: Run, restart: Restart, at: float) -> Step:
    """Return the run with the time at which tasks start again that have all ended; or stopped.

    All failures are known now: one that starting again cannot cure may have come after another
    that is but its consequence.
    """
    if restart.is_planned:
        return _scheduled(run, restart, at), ()
    for failure in restart.failures:
        if not failure.cause.is_consequence and not _may_help(run, failure, at):
            run = run._replace(first_failure=failure.task, pending=())
            return stop(run, _outcome(failure), at)
    if not all(_is_counted(run, failure) for failure in restart.failures):
        run = run._replace(used=run.used + 1, counted_at=at)
    back_s = 0.0 if run.used <= 1 else run.restarts.backoff_s * 2 ** (run.used - 2)
    if restart.tasks < set(run.members) and all(f.cause.is_consequence for f in restart.failures):
        back_s = max(back_s, REPORT_S)  # the peer that was lost may take more with it
    return _scheduled(run, restart, at + back_s), ()


def _evaluator_again(run: Run, failure: Failure, at: float) -> Step:
    """Start an evaluator again, as often as a run may; it fails nothing."""
    if failure.attempt > run.restarts.max or failure.kind not in run.restarts.on:
        return run, ()
    if failure.kind is FailureKind.EXIT and not run.has_settled:
        return run, ()
    back_s = 0.0 if failure.attempt == 1 else run.restarts.backoff_s * 2 ** (failure.attempt - 2)
    if failure.needs_places:
        back_s = max(back_s, REPORT_S)  # what else its host has taken may be told yet
    return _pending(run, Restart(frozenset({failure.task}), (failure,), at + back_s)), ()


def _pending(run: Run, restart: Restart) -> Run:
    """Return the run with tasks to start again, at one time with those that wait already."""
    together = [other for other in run.pending if other.tasks & restart.tasks]
    for other in together:
        failures = (*other.failures, *restart.failures)
        restart = Restart(restart.tasks | other.tasks, failures, restart.at)
    counted = _counted(run, restart.tasks)
    apart = tuple(other for other in run.pending if other not in together)
    run = run._replace(pending=(*apart, restart), used=max(0, run.used - counted))
    return run._replace(counted_at=None) if counted else run


def _counted(run: Run, tasks: frozenset[TaskId]) -> int:
    """Return how many restarts of any of these tasks were counted and have not begun.

    With another failure of them they are judged, and counted, as one.
    """
    waiting = (r for r in run.pending if r.at is not None and not r.is_planned)
    return sum(bool(restart.tasks & tasks) for restart in waiting)


def _scheduled(run: Run, restart: Restart, at: float) -> Run:
    others = tuple(other for other in run.pending if other is not restart)
    return run._replace(pending=(*others, restart._replace(at=at)))


def _has_budget(run: Run, failure: Failure) -> bool:
    begun = run.used - _counted(run, _group(run, failure))
    has_one = begun < run.restarts.max or _is_counted(run, failure)
    return has_one and failure.kind in run.restarts.on


def _is_counted(run: Run, failure: Failure) -> bool:
    """Whether a failure came with the one that was counted last: a host takes all its tasks.

    That is so of an attempt that was there before, and ended then or a moment later.
    """
    began_at, last_at = run.tasks[failure.task].started_at, run.counted_at
    if began_at is None or last_at is None or failure.kind is FailureKind.STALLED:
        return False
    return began_at < last_at and failure.at <= last_at + REPORT_S


def _may_help(run: Run, failure: Failure, at: float) -> bool:
    """Whether starting again may cure a failure."""
    if failure.cause in _CURABLE_AT_START or failure.kind is not FailureKind.EXIT:
        return True
    return _has_settled(run, at)  # before that it would do the same again


def _has_settled(run: Run, at: float) -> bool:
    """Whether the tasks have come as far as to train: a program that tells nothing, by its age."""
    if run.has_settled:
        return True
    starts = [a.started_at for a in run.tasks.values() if a.started_at is not None]
    return bool(starts) and at - min(starts) >= SETTLED_S


def _outcome(failure: Failure) -> Outcome:
    if failure.kind is FailureKind.HOST:
        return Outcome.HOST_LOST
    return Outcome.STALLED if failure.kind is FailureKind.STALLED else Outcome.FAILED
