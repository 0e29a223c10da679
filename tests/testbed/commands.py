"""Runs the machine's own programs, and says which of them failed and why."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 60.0


class TestbedError(Exception):
    """The testbed could not do what was asked of it."""

    __test__ = False


class Unavailable(TestbedError):
    """This machine cannot have a testbed; the text says what it lacks."""


def run(*argv: str | Path, check: bool = True, stdin: str | None = None,
        deadline_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Return a program that has ended, with what it printed.

    Raises:
        TestbedError: it ended with another code than 0 (unless `check` is False), or not in time.
    """
    words = [str(word) for word in argv]
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, input=stdin, timeout=deadline_s, **source
        )  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        raise TestbedError(f"{' '.join(words)}: not done after {deadline_s:g} s") from None
    except OSError as error:
        raise TestbedError(f"{words[0]}: {error.strerror}") from None
    completed: subprocess.CompletedProcess[str] = done
    if check and completed.returncode:
        said = (completed.stderr or completed.stdout).strip()
        raise TestbedError(f"{' '.join(words)}: code {completed.returncode}: {said}")
    return completed


def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once `condition` holds.

    Raises:
        TestbedError: it does not within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TestbedError(f"waited {deadline_s:g} s for {what}")
        time.sleep(0.02)
