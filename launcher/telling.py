"""What a person who watches a run is told of it: from how it stood to how it stands, in lines."""

import signal
from collections.abc import Iterator, Mapping

from launcher.cluster import FailureKind
from launcher.container import Container
from launcher.run import Failure, Outcome, Phase, Restart, Run, unfinished
from launcher.task import TaskId


def exit_words(code: int | None) -> str:
    """Return how a process ended, in words: `exit code 1`, `killed by SIGKILL`."""
    if code is None:
        return "did not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def changes(before: Run, after: Run, at: float, is_asked: bool) -> Iterator[str]:
    """Yield what is worth a line about one step of a run.

    is_asked: whether the user has just asked for the run's end.
    """
    if is_asked:
        yield _asked(before, after)
    for failure in after.failures[len(before.failures) :]:
        yield f"launch: {failed(failure)}.{_follows(after, failure)}"
    if after.first_failure is not None and before.first_failure is None and not after.failures:
        attempt = after.tasks[after.first_failure]
        how = attempt.reason or exit_words(attempt.code)
        yield f"launch: {after.first_failure} failed: {how}.{_others(after)}"
    if before.dumping_until is None and after.dumping_until is not None:
        since_s = at - (after.alive_at if after.alive_at is not None else after.began_at)
        yield f"launch: no progress for {since_s:.0f} s; asking all tasks where they are"
    yield from _restarts(before, after, at)
    if before.outcome is None and after.outcome is Outcome.TIMED_OUT:
        yield f"launch: timeouts.run_s ({after.timeouts.run_s:g} s) is over. Stopping all tasks."
    if before.formed_at is None and after.formed_at is not None and after.has_cluster:
        since = min((a.started_at for a in after.tasks.values() if a.started_at), default=at)
        if after.failures:
            yield f"launch: all tasks are up again after {at - since:.1f} s"


def failed(failure: Failure) -> str:
    """Return who failed, when and how: `worker:0 failed at step 94: killed by SIGKILL`."""
    step = f" at step {failure.step}" if failure.step is not None else ""
    if failure.kind is FailureKind.STALLED:  # nobody knows whose fault it is
        return f"{how(failure)}{step}"
    return f"{failure.task} failed{step}: {how(failure)}"


def how(failure: Failure) -> str:
    """Return how a task failed, in words."""
    return failure.how or exit_words(failure.code)


def _follows(run: Run, failure: Failure) -> str:
    """Return what is done about a failure."""
    if run.phase is not Phase.RUNNING:
        why = ""
        if failure.task == run.first_failure and run.used and run.used >= run.restarts.max:
            why = f" It was started again {run.used} times without progress."
        return f"{why}{_others(run)}"
    return ""


def _others(run: Run) -> str:
    return " Stopping the others." if len(run.tasks) > 1 else ""


def _restarts(before: Run, after: Run, at: float) -> Iterator[str]:
    known = {restart.tasks: restart for restart in before.pending}
    for restart in after.pending:
        old = known.get(restart.tasks)
        if old is None:
            yield f"launch: taking down {_names(restart, after)} to start again"
        if restart.at is not None and restart.at > at and (old is None or old.at is None):
            wait_s = restart.at - at
            yield f"launch: starting again in {wait_s:g} s ({_count(after)})"
    started = {
        task for task, attempt in after.tasks.items() if attempt.number > before.tasks[task].number
    }
    if started:
        names = ", ".join(str(task) for task in after.tasks if task in started)
        count = f" ({_count(after)})" if after.used > 0 and after.failures else ""
        yield f"launch: starting {names} again{count}"


def _names(restart: Restart, run: Run) -> str:
    if restart.tasks >= set(run.members) and len(run.members) > 1:
        return "all tasks"
    return ", ".join(str(task) for task in run.tasks if task in restart.tasks)


def _count(run: Run) -> str:
    return f"restart {run.used} of {run.restarts.max} without progress"


def _asked(before: Run, after: Run) -> str:
    names = ", ".join(map(str, unfinished(after)))
    if before.phase is Phase.RUNNING:
        grace_s = after.timeouts.grace_s
        return f"\nlaunch: stopping {names} (up to {grace_s:g} s; once more to kill at once)"
    return f"\nlaunch: killing {names}"


def waiting(run: Run, containers: Mapping[TaskId, Container], at: float) -> str:
    """Return who is waited for, on which host and since when; nothing where all are up."""
    missing = [_absent(run, containers[task], at) for task in run.missing()]
    up = len(run.members) - len(missing)
    return f"waiting for {'; '.join(missing)}; {up} of {len(run.members)} are up" if missing else ""


def _absent(run: Run, container: Container, at: float) -> str:
    attempt = run.tasks[container.task]
    if attempt.is_final:
        return f"{container.task} on {container.host} (ended: {exit_words(attempt.code)})"
    if attempt.started_at is None:
        return f"{container.task} on {container.host} (not started yet)"
    since = f"started {at - attempt.started_at:.0f} s ago"
    return f"{container.task} on {container.host} ({since}, port {container.address} not open)"
