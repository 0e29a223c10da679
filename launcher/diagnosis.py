"""What ended a task, in words: from its exit code, what its backend knows, and its last lines.

A `Cause` is what the lifecycle decides by (may starting again help?) and what the report says.
Which texts tell which cause is `launcher.signs`'. Nothing here knows a clock or a machine.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher.signs import LAST_ERROR, OF_LOGS, OF_REASONS, REMEDIES, Cause, Sign
from launcher.task import TaskId

__all__ = ["Cause", "Diagnosis", "Ended", "diagnose", "first_cause", "signal_of"]

MOMENT_S = 1.0  # ends as close as this are in no certain order
_READ_CHARACTERS = 2000  # of a line: an array in an error can fill pages
_SHOWN_CHARACTERS = 160  # of what a line says of the cause
_KILL = 9
_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT"}
_SIGNALS |= {7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}
_LAST_SIGNAL = 64
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of", "The above exception was", "Exception ignored in")
#: What a line means where the task ended with this exit code: 2 is that of argparse, shells and our
#: own trainers, 127 that of a shell that does not find its program.
_BY_CODE = {
    2: Sign(
        Cause.CONFIGURATION,
        r"^(?:\S+: )?error: (.*)|^\S+: \d+: (Syntax error: .*)",
        "what it was given is wrong",
    ),
    127: Sign(
        Cause.NOT_FOUND,
        r": (\S+): (?:command )?not found$|^\[FATAL tini \(\d+\)\] (exec .* failed)",
        "what it should run is not there",
    ),
}


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
    lines: the end of its log, as text, without empty lines.
    """
    told = next((sign for sign in OF_REASONS if re.search(sign.pattern, reason)), None)
    if told is not None:
        return _of(told.cause, reason.strip())
    if code is None:
        return _of(Cause.UNKNOWN, reason.strip() or "did not end")
    if code in (-_KILL, 128 + _KILL):
        return _of(Cause.SIGNAL, _with_reason(code, reason))
    by_log = _by_log(code, [line[:_READ_CHARACTERS] for line in lines])
    if by_log is not None:
        return by_log
    if code == 0:
        return _of(Cause.ENDED_EARLY, "ended with exit code 0 before its time")
    return _of(Cause.SIGNAL if signal_of(code) else Cause.UNKNOWN, _with_reason(code, reason))


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
    together = (end for end in own if end.at <= own[0].at + MOMENT_S)
    return min(together, key=lambda end: end.diagnosis.cause is Cause.TRANSPORT).task


def signal_of(code: int) -> int:
    """Return the signal that an exit code tells of, its own or that of a shell's child; 0: none."""
    number = -code if code < 0 else code - 128
    return number if 0 < number <= _LAST_SIGNAL else 0


def exit_words(code: int) -> str:
    """Return an exit code in words: `exit code 1`, `killed by SIGKILL`."""
    number = signal_of(code)
    if not number:
        return f"exit code {code}"
    name = _SIGNALS.get(number, f"signal {number}")
    return (
        f"killed by {name}" if code < 0 else f"exit code {code}: what it ran was killed by {name}"
    )


def _with_reason(code: int, reason: str) -> str:
    return f"{exit_words(code)}: {reason.strip()}" if reason.strip() else exit_words(code)


def _of(cause: Cause, words: str) -> Diagnosis:
    return Diagnosis(cause, words, REMEDIES.get(cause, ""))


def _by_log(code: int, lines: Sequence[str]) -> Diagnosis | None:
    """Return what the log tells, None where it tells nothing that is known."""
    found = _best(OF_LOGS, lines)
    if found is None and code in _BY_CODE:
        found = _best((_BY_CODE[code],), lines)
    if found is None:
        return None
    sign, match = found
    more = next((group.strip() for group in match.groups() if group), "")[:_SHOWN_CHARACTERS]
    words = f"{sign.words}{': ' if more else ''}{more} ({exit_words(code)})"
    return _of(sign.cause, words)


def _best(signs: Sequence[Sign], lines: Sequence[str]) -> tuple[Sign, re.Match[str]] | None:
    """Return the sign that tells most: a cause before a consequence, then the later line."""
    last_error = _last_error(lines)
    best: tuple[tuple[int, int], Sign, re.Match[str]] | None = None
    for sign in signs:
        first = last_error if sign.weight == LAST_ERROR else 0
        for at in range(len(lines) - 1, first - 1, -1):
            match = re.search(sign.pattern, lines[at])
            if match:
                if best is None or (sign.weight, at) > best[0]:
                    best = (sign.weight, at), sign, match
                break
    return best[1:] if best else None


def _last_error(lines: Sequence[str]) -> int:
    """Return where the last traceback begins, with those it was raised in; 0 without any."""
    begin = 0
    for at, line in enumerate(lines):
        is_chained = at > 0 and lines[at - 1].startswith(_CHAINED)
        if line.startswith(_TRACEBACK) and not is_chained:
            begin = at
    return begin
