"""How a run stands: values that `lifecycle` makes from one another."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from launcher import strategy as rules
from launcher.cluster import FailureKind, Restarts, Timeouts
from launcher.signs import Cause
from launcher.strategy import Role, Strategy
from launcher.task import TaskId

SETTLED_S = 60.0  # a task that tells nothing has started well when it has run for so long


class Phase(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    STOPPING = "stopping"  #: no task is started any more, those left are being ended
    FINISHED = "finished"  #: no task lives


class Outcome(StrEnum):
    """Why a run stopped."""

    SUCCEEDED = "succeeded"  #: every task that decides ended with 0
    SAVED = "stopped, its state is saved"  #: stopped as asked; every task that decides has saved
    FAILED = "failed"  #: a task that may not fail ended with something else
    NOT_STARTED = "not started"  #: a task could not be started
    NOT_FORMED = "not formed"  #: timeouts.start_s was over before every task was there
    HOST_LOST = "host lost"  #: a host could not be reached any more
    STALLED = "stalled"  #: it made no progress for timeouts.stalled_s, also when started again
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
    STOPPED = "stopped"  #: ended because we asked it to, or with its state saved
    NOT_STARTED = "not started"  #: could not be started, or was never to be


FINAL = frozenset(TaskState) - {TaskState.WAITING, TaskState.RUNNING}


class Attempt(NamedTuple):
    """One task's current attempt. `code` is the exit code, -N for signal N.

    is_up: whether its peers can find it.
    ask_at: when it is asked to end if it has not ended by itself; None for no such time.
    kill_at: when it is killed if it has not ended; None while nobody wants it to end.
    missed_at: when it counts as failed, having ended well before it could be spared.
    """

    number: int = 1
    state: TaskState = TaskState.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    reason: str = ""
    cause: Cause | None = None
    is_up: bool = False
    asked: bool = False
    ask_at: float | None = None
    kill_at: float | None = None
    missed_at: float | None = None

    @property
    def lives(self) -> bool:
        """Whether the attempt has been started and has not ended."""
        return self.state is TaskState.RUNNING

    @property
    def is_final(self) -> bool:
        """Whether it has ended, or will never begin."""
        return self.state in FINAL


class Failure(NamedTuple):
    """An attempt that ended as it should not have."""

    task: TaskId
    attempt: int
    at: float
    cause: Cause
    kind: FailureKind
    how: str  #: in words; empty where only the code tells
    code: int | None
    step: int | None

    @property
    def needs_places(self) -> bool:
        """Whether its tasks must stand elsewhere: their port is taken, or their host is gone.

        A host whose Docker was stopped and started again is not.
        """
        host_is_gone = self.cause is Cause.HOST_UNREACHABLE and self.kind is FailureKind.HOST
        return host_is_gone or self.cause is Cause.PORT_TAKEN


class Restart(NamedTuple):
    """Tasks that are taken down, and start again together once none of them lives.

    at: not before this time; None until that is known, when all have ended.
    failures: why; none where they stopped with their state saved.
    """

    tasks: frozenset[TaskId]
    failures: tuple[Failure, ...] = ()
    at: float | None = None

    @property
    def is_planned(self) -> bool:
        """Whether nothing has failed."""
        return not self.failures


class Run(NamedTuple):
    """A run's whole state.

    formed_at: since when every task of the cluster has been up, None while one is missing.
    first_up_at: since when somebody has been waiting for the others.
    has_settled: whether the tasks have once come as far as to train.
    step: the highest step that was told; best_step the highest at the last restart.
    alive_at: the last sign of progress.
    looking_until: how long an answer is waited for, whether silent tasks write event files.
    dumping_until: when tasks that make no progress are killed, having written where they are.
    used: restarts since there was progress; counted_at: when the last of them was counted.
    """

    strategy: Strategy
    timeouts: Timeouts
    tasks: Mapping[TaskId, Attempt]
    restarts: Restarts
    began_at: float = 0.0
    phase: Phase = Phase.RUNNING
    outcome: Outcome | None = None
    first_failure: TaskId | None = None
    deadline: float | None = None
    at_once: bool = False  #: the user asked twice: nothing is waited for any more
    formed_at: float | None = None
    first_up_at: float | None = None
    has_settled: bool = False
    step: int | None = None
    total: int | None = None
    best_step: int = -1
    alive_at: float | None = None
    longest_step_s: float = 0.0
    looking_until: float | None = None
    dumping_until: float | None = None
    pending: tuple[Restart, ...] = ()
    used: int = 0
    counted_at: float | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def has_cluster(self) -> bool:
        """Whether there are tasks that must find each other."""
        return len(self.members) > 1

    @property
    def members(self) -> tuple[TaskId, ...]:
        """The tasks that form the cluster: all but the evaluator."""
        return tuple(task for task in self.tasks if not rules.may_fail(task))

    @property
    def is_forming(self) -> bool:
        """Whether tasks wait for each other: TensorFlow is deaf to signals then."""
        return self.has_cluster and self.formed_at is None and self.first_up_at is not None

    @property
    def start_deadline(self) -> float | None:
        """When the run has waited for the missing tasks for long enough."""
        if not self.is_forming or self.first_up_at is None or self.pending:
            return None
        return self.first_up_at + self.timeouts.start_s

    @property
    def living(self) -> tuple[TaskId, ...]:
        """The tasks that have been started and have not ended."""
        return tuple(task for task, attempt in self.tasks.items() if attempt.lives)

    def is_ending(self, task: TaskId) -> bool:
        """Whether a task is being taken down, to be started again."""
        return any(task in restart.tasks for restart in self.pending)

    def missing(self) -> tuple[TaskId, ...]:
        """Return the tasks of the cluster that are not up."""
        return tuple(task for task in self.members if not self.tasks[task].is_up)


def unfinished(run: Run) -> Iterator[TaskId]:
    """Yield the tasks that have not ended."""
    return (task for task, attempt in run.tasks.items() if not attempt.is_final)


def coordinators(run: Run) -> tuple[TaskId, ...]:
    """Return the tasks that others serve, where there are such."""
    return tuple(t for t in run.tasks if rules.role(run.strategy, t.type) is Role.COORDINATE)
