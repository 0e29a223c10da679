"""The error tree. Every error that a user can meet is one of these, worded for that user.

LaunchError
├── InputError         the command line, a file or a plan is wrong; nothing was started
│   └── TfConfigError  a TF_CONFIG that no TensorFlow process could use
└── HostError          a machine could not do what the plan asks of it

Only `launcher.cli` turns these into exit codes; only it prints them.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong: where it stands, and what was expected instead."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class LaunchError(Exception):
    """The root: its text is one or more whole sentences for the user."""


class InputError(LaunchError):
    """What the user gave is wrong. Carries every problem found, not the first."""

    def __init__(self, problems: Iterable[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class TfConfigError(InputError):
    """A TF_CONFIG that no TensorFlow process could use."""


class HostError(LaunchError):
    """A machine could not do what the plan asks of it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the known word closest to `word`, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
