"""The life of a run, decided: events in, commands out, nothing else.

`step(run, event)` is a pure function. Every event carries the time at which it was seen, so the
same history always gives the same commands; there is no clock, thread or process here. The
supervisor performs the commands and feeds what follows from them back as events.

A run goes RUNNING → STOPPING → FINISHED. It stops because every task that decides has succeeded,
because one failed, because the user asked, or because its time is up; the reason is the outcome.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from launcher import strategy as rules
from launcher.cluster import Timeouts
from launcher.strategy import Strategy
from launcher.task import TaskId

REPORT_S = 1.0  # how long the peers of a failed MultiWorkerMirrored task may still report


class Phase(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    STOPPING = "stopping"  #: no task is started any more, those left are being ended
    FINISHED = "finished"  #: no task lives


class Outcome(StrEnum):
    """Why a run stopped."""

    SUCCEEDED = "succeeded"  #: every task that decides ended with 0
    FAILED = "failed"  #: a task that may not fail ended with something else
    NOT_STARTED = "not started"  #: a task could not be started
    HOST_LOST = "host lost"  #: a host could not be reached any more
    TIMED_OUT = "timed out"  #: timeouts.run_s was over
    INTERRUPTED = "interrupted"  #: SIGINT to the launcher
    TERMINATED = "terminated"  #: SIGTERM or SIGHUP to the launcher


class TaskState(StrEnum):
    """Where a task stands; the last five are final."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"  #: ended with 0
    FAILED = "failed"  #: ended by itself with something else, and nothing else had failed
    CONSEQUENCE = "consequence"  #: ended after another task had failed
    STOPPED = "stopped"  #: ended because we asked it to
    NOT_STARTED = "not started"  #: could not be started, or was never to be


FINAL = frozenset(TaskState) - {TaskState.WAITING, TaskState.RUNNING}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One task's current attempt. `code` is the exit code, -N for signal N.

    ask_at: when it is asked to end if it has not ended by itself; None for no such time.
    kill_at: when it is killed if it has not ended; None while nobody has asked it to end.
    """

    number: int = 1
    state: TaskState = TaskState.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    reason: str = ""
    asked: bool = False
    ask_at: float | None = None
    kill_at: float | None = None

    @property
    def lives(self) -> bool:
        """Whether the attempt has been started and has not ended."""
        return self.state is TaskState.RUNNING


@dataclass(frozen=True, slots=True)
class Run:
    """A run's whole state."""

    strategy: Strategy
    timeouts: Timeouts
    tasks: Mapping[TaskId, Attempt]
    phase: Phase = Phase.RUNNING
    outcome: Outcome | None = None
    first_failure: TaskId | None = None
    deadline: float | None = None
    at_once: bool = False  #: the user asked twice: nothing is waited for any more

    @property
    def wake_at(self) -> float | None:
        """When the next `Tick` is due, or None while only events can change anything."""
        living = [attempt for attempt in self.tasks.values() if attempt.lives]
        due = [at for a in living for at in (a.ask_at, a.kill_at) if at is not None]
        if self.deadline is not None and self.phase is Phase.RUNNING:
            due.append(self.deadline)
        return min(due, default=None)


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt runs now."""

    at: float
    task: TaskId
    attempt: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """An attempt could not be started."""

    at: float
    task: TaskId
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """An attempt ended; `code` is its exit code, -N for signal N.

    reason: what ended it, where more is known than the code says.
    """

    at: float
    task: TaskId
    attempt: int
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody can tell any more how an attempt does: its host cannot be reached."""

    at: float
    task: TaskId
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The user wants the run to end; asked twice, at once."""

    at: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    at: float


Event = Started | StartFailed | Exited | Lost | StopAsked | Tick


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt."""

    task: TaskId
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask an attempt to end (SIGTERM), or end it with all that it started (`kill`, SIGKILL)."""

    task: TaskId
    attempt: int
    kill: bool


Command = Start | Stop


def begin(
    tasks: tuple[TaskId, ...], strategy: Strategy, timeouts: Timeouts, at: float
) -> tuple[Run, tuple[Command, ...]]:
    """Return a new run and the commands that start it."""
    deadline = None if timeouts.run_s is None else at + timeouts.run_s
    run = Run(strategy, timeouts, dict.fromkeys(tasks, Attempt()), deadline=deadline)
    return run, tuple(Start(task, 1) for task in tasks)


def step(run: Run, event: Event) -> tuple[Run, tuple[Command, ...]]:
    """Return the run after `event`, and what must be done now.

    An event of an attempt that is not the current one, or that has ended already, changes
    nothing.
    """
    if run.phase is Phase.FINISHED:
        return run, ()
    match event:
        case Started():
            run, commands = _started(run, event)
        case StartFailed():
            run, commands = _start_failed(run, event)
        case Exited():
            run, commands = _exited(run, event)
        case Lost():
            run, commands = _lost(run, event)
        case StopAsked():
            run, commands = _stop_asked(run, event)
        case Tick():
            commands = ()
    run, due = _due(run, event.at)
    return _finished(run), (*commands, *due)


def _current(run: Run, event: Started | StartFailed | Exited | Lost) -> Attempt | None:
    attempt = run.tasks.get(event.task)
    same = attempt is not None and attempt.number == event.attempt and attempt.state not in FINAL
    return attempt if same else None


def _with(run: Run, task: TaskId, **changes: object) -> Run:
    attempt = replace(run.tasks[task], **changes)  # type: ignore[arg-type]
    return replace(run, tasks={**run.tasks, task: attempt})


def _started(run: Run, event: Started) -> tuple[Run, tuple[Command, ...]]:
    attempt = _current(run, event)
    if attempt is None or attempt.lives:
        return run, ()
    run = _with(run, event.task, state=TaskState.RUNNING, started_at=event.at)
    if run.phase is Phase.STOPPING:  # it was on its way when the run stopped
        return _ask_to_end(run, (event.task,), event.at)
    return run, ()


def _start_failed(run: Run, event: StartFailed) -> tuple[Run, tuple[Command, ...]]:
    if _current(run, event) is None:
        return run, ()
    run = _with(
        run, event.task, state=TaskState.NOT_STARTED, ended_at=event.at, reason=event.reason
    )
    if run.phase is not Phase.RUNNING or rules.may_fail(event.task):
        return run, ()
    return _stop(replace(run, first_failure=event.task), Outcome.NOT_STARTED, event.at)


def _exited(run: Run, event: Exited) -> tuple[Run, tuple[Command, ...]]:
    attempt = _current(run, event)
    if attempt is None:
        return run, ()
    state = _end_state(run, attempt, event.code)
    run = _with(
        run, event.task, state=state, ended_at=event.at, code=event.code, reason=event.reason
    )
    if run.phase is not Phase.RUNNING:
        return run, ()
    if state is TaskState.FAILED and not rules.may_fail(event.task):
        return _stop(replace(run, first_failure=event.task), Outcome.FAILED, event.at)
    if all(
        attempt.state is TaskState.SUCCEEDED
        for task, attempt in run.tasks.items()
        if rules.decides(run.strategy, task)
    ):
        return _stop(run, Outcome.SUCCEEDED, event.at)
    return run, ()


def _lost(run: Run, event: Lost) -> tuple[Run, tuple[Command, ...]]:
    attempt = _current(run, event)
    if attempt is None:
        return run, ()
    state = _end_state(run, attempt, None)
    run = _with(run, event.task, state=state, ended_at=event.at, reason=event.reason)
    if run.phase is not Phase.RUNNING or rules.may_fail(event.task):
        return run, ()
    return _stop(replace(run, first_failure=event.task), Outcome.HOST_LOST, event.at)


def _end_state(run: Run, attempt: Attempt, code: int | None) -> TaskState:
    if code == 0:
        return TaskState.SUCCEEDED
    if run.first_failure is not None:
        return TaskState.CONSEQUENCE
    return TaskState.STOPPED if attempt.asked else TaskState.FAILED


def _stop_asked(run: Run, event: StopAsked) -> tuple[Run, tuple[Command, ...]]:
    if run.phase is Phase.RUNNING:
        return _stop(run, event.outcome, event.at)
    run = replace(run, at_once=True)
    for task in [task for task, attempt in run.tasks.items() if attempt.lives]:
        run = _with(run, task, asked=True, ask_at=None, kill_at=event.at)
    return run, ()


def _stop(run: Run, outcome: Outcome, at: float) -> tuple[Run, tuple[Command, ...]]:
    """Begin to end the run: every living task is asked to, none is started any more.

    After success the evaluator first gets the time to evaluate the last checkpoint.
    """
    run = replace(run, phase=Phase.STOPPING, outcome=outcome)
    living = [task for task, attempt in run.tasks.items() if attempt.lives]
    may_go_on = [t for t in living if outcome is Outcome.SUCCEEDED and rules.may_fail(t)]
    for task in may_go_on:
        run = _with(run, task, ask_at=at + run.timeouts.grace_s)
    return _ask_to_end(run, tuple(task for task in living if task not in may_go_on), at)


def _ask_to_end(run: Run, tasks: tuple[TaskId, ...], at: float) -> tuple[Run, tuple[Command, ...]]:
    commands = []
    for task in tasks:
        run = _with(run, task, asked=True, ask_at=None, kill_at=at + _patience_s(run, task))
        commands.append(Stop(task, run.tasks[task].number, kill=False))
    return run, tuple(commands)


def _patience_s(run: Run, task: TaskId) -> float:
    """Return how long a task may take to end: a dead gang's members have nothing to save."""
    if run.at_once:
        return 0.0
    gang_is_lost = run.first_failure is not None and rules.swallows_sigterm(run.strategy, task)
    return REPORT_S if gang_is_lost else run.timeouts.grace_s


def _due(run: Run, at: float) -> tuple[Run, tuple[Command, ...]]:
    """Return the run with everything done that is due at `at`."""
    commands: list[Command] = []
    if run.phase is Phase.RUNNING and run.deadline is not None and at >= run.deadline:
        run, asked = _stop(run, Outcome.TIMED_OUT, at)
        commands += asked
    due = tuple(t for t, a in run.tasks.items() if a.lives and a.ask_at and at >= a.ask_at)
    run, asked = _ask_to_end(run, due, at)
    commands += asked
    for task, attempt in run.tasks.items():
        if attempt.lives and attempt.kill_at is not None and at >= attempt.kill_at:
            run = _with(run, task, kill_at=None)
            commands.append(Stop(task, attempt.number, kill=True))
    return run, tuple(commands)


def _finished(run: Run) -> Run:
    """Return the run, finished once it is stopping and no attempt lives or is on its way."""
    if run.phase is not Phase.STOPPING:
        return run
    if any(attempt.state not in FINAL for attempt in run.tasks.values()):
        return run
    return replace(run, phase=Phase.FINISHED)


def unfinished(run: Run) -> Iterator[TaskId]:
    """Yield the tasks that have not ended."""
    return (task for task, attempt in run.tasks.items() if attempt.state not in FINAL)
