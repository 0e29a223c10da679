"""What happens to a run, and what is then done: values that pass between supervisor and lifecycle.

Every event carries the time at which it was seen, in seconds of one clock that only moves forward.
"""

from dataclasses import dataclass
from typing import NamedTuple

from launcher.run import Outcome
from launcher.signs import Cause
from launcher.task import TaskId


class Started(NamedTuple):
    """An attempt runs now."""

    at: float
    task: TaskId
    attempt: int


class StartFailed(NamedTuple):
    """An attempt could not be started.

    has_no_place: it was to stand elsewhere than before, and no place was found.
    """

    at: float
    task: TaskId
    attempt: int
    reason: str
    has_no_place: bool = False


class Exited(NamedTuple):
    """An attempt ended; `code` is its exit code, -N for signal N.

    reason: what ended it, where more is known than the code says.
    cause, words: what that and its last lines mean.
    ended_at: when it ended by its host's clock, as a time of this one; `at` where it is not known.
    """

    at: float
    task: TaskId
    attempt: int
    code: int
    reason: str = ""
    cause: Cause = Cause.UNKNOWN
    words: str = ""
    ended_at: float | None = None


class Lost(NamedTuple):
    """Nobody can tell any more how an attempt does: its host cannot be reached."""

    at: float
    task: TaskId
    attempt: int
    reason: str


class Up(NamedTuple):
    """An attempt is where its peers can find it: its port is open, or it says that it is ready."""

    at: float
    task: TaskId
    attempt: int


class Progressed(NamedTuple):
    """Training goes on: at `step`, or by a sign of life of what tells no steps (None).

    total: the step at which training ends, where it is known.
    """

    at: float
    step: int | None
    total: int | None = None


class Looked(NamedTuple):
    """The event files of tasks that tell no steps were looked at, as `LookForLife` asks.

    life_at: when the last of them grew; None where there are none, or nobody can tell.
    """

    at: float
    life_at: float | None


class StopAsked(NamedTuple):
    """The user wants the run to end; asked twice, at once."""

    at: float
    outcome: Outcome


class Tick(NamedTuple):
    """Time has passed."""

    at: float


Event = Started | StartFailed | Exited | Lost | Up | Progressed | Looked | StopAsked | Tick


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt.

    anew: its place is to be found again first: its port was taken, or its host is lost.
    """

    task: TaskId
    attempt: int
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask an attempt to end (SIGTERM), or end it with all that it started (`kill`, SIGKILL)."""

    task: TaskId
    attempt: int
    kill: bool


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Have an attempt write where it is: it makes no progress."""

    task: TaskId
    attempt: int


@dataclass(frozen=True, slots=True)
class LookForLife:
    """See whether the event files of tasks grow, none of which prints or tells anything."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Watch an attempt that another launcher has started."""

    task: TaskId
    attempt: int


Command = Start | Stop | DumpStacks | LookForLife | Adopt
