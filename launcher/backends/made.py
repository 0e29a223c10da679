"""A container that was made for an attempt, as those know it who start, watch and end it."""

from typing import NamedTuple

from launcher.backends import Report
from launcher.container import Container
from launcher.hosts import Machine


class Made(NamedTuple):
    """A container that was made for an attempt of a task.

    started_at: when we started it; None where another launcher did, or nobody has.
    """

    container: Container
    attempt: int
    machine: Machine
    id: str
    report: Report
    started_at: float | None = None
