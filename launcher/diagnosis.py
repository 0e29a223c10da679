"""What ended a task, in words: from its exit code, what its backend knows, and its last lines.

A `Cause` is what the lifecycle decides by (may starting again help?) and what the report says.
Which texts tell which cause is `launcher.signs`'. Nothing here knows a clock or a machine.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher.signs import OF_LOGS, OF_REASONS, REMEDIES, Cause, Sign
from launcher.task import TaskId

__all__ = ["Cause", "Diagnosis", "Ended", "diagnose", "first_cause", "remedy"]

MOMENT_S = 1.0  # ends as close as this are in no certain order
_READ_CHARACTERS = 2000  # of a line: an array in an error can fill pages
_KILL = 9
_BAD_INPUT = 2  # the exit code of argparse, shells and our own trainers
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT"}
_SIGNALS |= {7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}
_LAST_SIGNAL = 64


class Diagnosis(NamedTuple):
    """Why a task ended.

    words: one phrase for people, such as `killed by the kernel for lack of memory`.
    remedy: what to do about it; empty where nothing is known.
    """

    cause: Cause
    words: str
    remedy: str = ""


class Ended(NamedTuple):
    """One task's end, at a time of the clock that all ends share."""

    task: TaskId
    at: float
    diagnosis: Diagnosis


def diagnose(code: int | None, reason: str, lines: Sequence[str]) -> Diagnosis:
    """Return why a task ended that was not to end.

    What the backend says counts most, then the log, then the code. A task that was killed is not
    judged by its log: it had no time to write why.

    code: the exit code, -N for signal N; None for a task that did not start or was lost.
    reason: what the backend knows beyond the code, or what the launcher itself ended it for.
    lines: the end of its log, as text.
    """
    told = _matched(OF_REASONS, (reason,)) if reason else None
    if told is not None:
        return _of(told.cause, reason.strip())
    if code is None:
        return _of(Cause.UNKNOWN, reason.strip() or "did not end")
    if code in (-_KILL, 128 + _KILL):
        return _of(Cause.SIGNAL, _signal_words(code))
    found = _matched(OF_LOGS, lines)
    if found is None and code == _BAD_INPUT and any(_is_complaint(line) for line in lines):
        return _of(Cause.CONFIGURATION, f"what it was given is wrong ({_exit_words(code)})")
    if found is not None:
        return _of(found.cause, f"{found.words} ({_exit_words(code)})")
    if code == 0:
        return _of(Cause.ENDED_EARLY, "ended with exit code 0 before its time")
    if signal_of(code):
        return _of(Cause.SIGNAL, _signal_words(code))
    return _of(Cause.UNKNOWN, f"{_exit_words(code)}{f': {reason.strip()}' if reason else ''}")


def first_cause(ended: Iterable[Ended]) -> TaskId | None:
    """Return the task whose end is the first cause of the others', None for no ends.

    That is the first by time among those whose end is no consequence, else the first of all. A
    failed transport is a consequence where a task ended for a reason of its own at most a moment
    (1 s) later: who loses a peer may end before the peer itself has.
    """
    ends = sorted(ended, key=lambda end: end.at)
    own = [end for end in ends if not end.diagnosis.cause.is_consequence]
    if not own:
        return ends[0].task if ends else None
    first = own[0]
    together = (end for end in own if end.at <= first.at + MOMENT_S)
    return min(together, key=lambda end: end.diagnosis.cause is Cause.TRANSPORT).task


def remedy(lines: Iterable[str]) -> str:
    """Return what to do about a failure that left these lines, or nothing where it is unknown."""
    found = _matched(OF_LOGS, tuple(lines))
    return REMEDIES.get(found.cause, "") if found else ""


def signal_of(code: int) -> int:
    """Return the signal that an exit code tells of, its own or that of a shell's child; 0: none."""
    number = -code if code < 0 else code - 128
    return number if 0 < number <= _LAST_SIGNAL else 0


def _of(cause: Cause, words: str) -> Diagnosis:
    return Diagnosis(cause, words, REMEDIES.get(cause, ""))


def _exit_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else _signal_words(code)


def _signal_words(code: int) -> str:
    number = signal_of(code)
    name = _SIGNALS.get(number, f"signal {number}")
    return f"killed by {name}" if code < 0 else f"what it ran was killed by {name}"


def _is_complaint(line: str) -> bool:
    return line.startswith(("error: ", "usage: ")) or ": error: " in line


def _matched(signs: Sequence[Sign], lines: Sequence[str]) -> Sign | None:
    """Return the sign that tells most: a cause before a consequence, then the later line."""
    found: list[tuple[int, int, Sign]] = []
    cut = [line[:_READ_CHARACTERS] for line in lines]
    for sign in signs:
        at = [index for index, line in enumerate(cut) if re.search(sign.pattern, line)]
        if at:
            found.append((sign.weight, at[-1], sign))
    return max(found, key=lambda each: each[:2])[2] if found else None
