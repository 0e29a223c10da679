"""Who is to blame for a failed run: the first cause, and what followed from it.

Every task that ended badly by itself is diagnosed by its exit, what its backend knows and its log;
times are the launcher's. What ended because the launcher asked it to is nobody's failure.
"""

from typing import NamedTuple

from launcher import strategy as rules
from launcher.diagnosis import Cause, Diagnosis, Ended, diagnose, first_cause, signal_of
from launcher.logs import last_lines
from launcher.run import Attempt, TaskState
from launcher.supervisor import Result
from launcher.task import TaskId

_READ_LINES = 500  # of the log's end, to find the cause
_ASKED_SIGNALS = (9, 15)  # by which a task ends that the launcher asks to, or kills
_ENDED_WELL = (0, 42)
_BAD = (TaskState.FAILED, TaskState.CONSEQUENCE, TaskState.NOT_STARTED)


class Blame(NamedTuple):
    """What failed in a run.

    first: the first cause; None where nothing failed that the run needed.
    others: what else failed, in the order of time.
    unneeded: what failed without which the run went on.
    """

    first: Ended | None = None
    others: tuple[Ended, ...] = ()
    unneeded: tuple[Ended, ...] = ()

    def of(self, task: TaskId) -> Diagnosis | None:
        """Return why a task failed; None where it did not."""
        first = (self.first,) if self.first else ()
        ended = (end for end in (*first, *self.others, *self.unneeded) if end.task == task)
        return next((end.diagnosis for end in ended), None)


def blame(result: Result) -> Blame:
    """Return what failed in a run that has ended."""
    bad = (task for task, attempt in result.run.tasks.items() if _is_bad(attempt))
    ends = sorted((_ended(result, task) for task in bad), key=lambda end: end.at)
    needed = [end for end in ends if not rules.may_fail(end.task) and _says_why(result, end)]
    unneeded = tuple(end for end in ends if rules.may_fail(end.task) and _is_own(result, end.task))
    if result.run.first_failure is None:
        return Blame(unneeded=unneeded)
    task = first_cause(needed) or result.run.first_failure
    first = next((end for end in needed if end.task == task), None) or _ended(result, task)
    return Blame(first, tuple(end for end in needed if end.task != task), unneeded)


def _is_bad(attempt: Attempt) -> bool:
    """Whether an attempt ended badly, and not because it was asked to end."""
    if attempt.state not in _BAD or attempt.code in _ENDED_WELL:
        return False
    if attempt.state is TaskState.NOT_STARTED:
        return bool(attempt.reason) and not attempt.asked
    return not (attempt.asked and _is_answer(attempt.code))


def _is_answer(code: int | None) -> bool:
    return code is not None and signal_of(code) in _ASKED_SIGNALS


def _is_own(result: Result, task: TaskId) -> bool:
    """Whether a task failed by itself, or found no place to start again."""
    attempt, failures = result.run.tasks[task], result.run.failures
    is_told = any((each.task, each.attempt) == (task, attempt.number) for each in failures)
    return attempt.state is TaskState.FAILED or is_told


def _says_why(result: Result, end: Ended) -> bool:
    """Whether an end is more than a start that was given up because another task had failed."""
    is_start = result.run.tasks[end.task].state is TaskState.NOT_STARTED
    is_first = end.task == result.run.first_failure
    return is_first or not is_start or end.diagnosis.cause is not Cause.UNKNOWN


def _ended(result: Result, task: TaskId) -> Ended:
    attempt = result.run.tasks[task]
    lines = last_lines(result.plan.log_path(task, attempt.number), _READ_LINES)
    at = result.ended_at if attempt.ended_at is None else attempt.ended_at
    return Ended(task, at, diagnose(attempt.code, attempt.reason, lines))
