"""What launcher.lifecycle promises: histories of events, and what must be done at each."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.changes import REPORT_S
from launcher.cluster import FailureKind, Restarts, Timeouts
from launcher.due import wake_at
from launcher.events import (
    Command,
    Event,
    Exited,
    Looked,
    LookForLife,
    Lost,
    Progressed,
    Start,
    Started,
    StartFailed,
    Stop,
    StopAsked,
    Tick,
    Up,
)
from launcher.lifecycle import begin, step
from launcher.run import FINAL, Outcome, Phase, Run, TaskState, unfinished
from launcher.signs import Cause
from launcher.strategy import Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

MWMS, PSS = Strategy.MULTI_WORKER_MIRRORED, Strategy.PARAMETER_SERVER
WORKER, WORKER_1 = TaskId(TaskType.WORKER, 0), TaskId(TaskType.WORKER, 1)
PS = TaskId(TaskType.PS, 0)
GRACE_S = 30.0
LIMITS = Timeouts(grace_s=GRACE_S)


def started(*tasks: TaskId, at: float = 0.0) -> list[Event]:
    return [Started(at, task, 1) for task in tasks]


def term(*tasks: TaskId) -> list[Command]:
    return [Stop(task, 1, kill=False) for task in tasks]


def kill(*tasks: TaskId) -> list[Command]:
    return [Stop(task, 1, kill=True) for task in tasks]


@dataclass
class History:
    """Events of a run, the commands that follow them all, and how the run then stands."""

    promise: str
    strategy: Strategy
    tasks: tuple[TaskId, ...]
    events: list[Event]
    commands: list[Command]
    phase: Phase
    outcome: Outcome | None
    states: str  #: of the tasks in their order
    first_failure: TaskId | None = None
    wake_at: float | None = None
    timeouts: Timeouts = field(default=LIMITS)


GANG = (CHIEF, WORKER)
CLUSTER = (CHIEF, WORKER, PS)
HISTORIES = [
    History(
        "a new run waits for its tasks",
        MWMS, GANG, [],
        [], Phase.RUNNING, None, "waiting waiting",
    ),
    History(
        "MWMS: the run has succeeded when every task has",
        MWMS, GANG,
        [*started(*GANG), Exited(5, CHIEF, 1, 0), Exited(6, WORKER, 1, 0)],
        [], Phase.FINISHED, Outcome.SUCCEEDED, "succeeded succeeded",
    ),
    History(
        "MWMS: nobody is stopped because the chief ended first",
        MWMS, GANG,
        [*started(*GANG), Exited(5, CHIEF, 1, 0), Tick(500)],
        [], Phase.RUNNING, None, "succeeded running",
    ),
    History(
        "MWMS: one fails, the others are stopped, and killed after a moment to report",
        MWMS, GANG,
        [*started(*GANG), Exited(5, WORKER, 1, 3), Tick(5.9), Tick(6), Exited(6.1, CHIEF, 1, -9)],
        [*term(CHIEF), *kill(CHIEF)], Phase.FINISHED, Outcome.FAILED, "consequence failed",
        first_failure=WORKER,
    ),
    History(
        "MWMS: a peer that fails because of it is a consequence",
        MWMS, (CHIEF, WORKER, WORKER_1),
        [*started(CHIEF, WORKER, WORKER_1), Exited(5, WORKER, 1, -9), Exited(5.1, CHIEF, 1, 1)],
        term(CHIEF, WORKER_1), Phase.STOPPING, Outcome.FAILED, "consequence failed running",
        first_failure=WORKER, wake_at=5 + REPORT_S,
    ),
    History(
        "MWMS: a task that ends with 0 after the failure has succeeded",
        MWMS, GANG,
        [*started(*GANG), Exited(5, WORKER, 1, 1), Exited(5.5, CHIEF, 1, 0)],
        term(CHIEF), Phase.FINISHED, Outcome.FAILED, "succeeded failed", first_failure=WORKER,
    ),
    History(
        "asked once, every task may take its grace to end",
        MWMS, GANG,
        [*started(*GANG), StopAsked(5, Outcome.INTERRUPTED), Exited(6, CHIEF, 1, 0),
         Exited(7, WORKER, 1, -15)],
        term(*GANG), Phase.FINISHED, Outcome.INTERRUPTED, "succeeded stopped",
    ),
    History(
        "what does not end within its grace is killed",
        MWMS, GANG,
        [*started(*GANG), StopAsked(5, Outcome.TERMINATED), Exited(6, CHIEF, 1, 0),
         Tick(5 + GRACE_S)],
        [*term(*GANG), *kill(WORKER)], Phase.STOPPING, Outcome.TERMINATED, "succeeded running",
    ),
    History(
        "asked twice, what lives is killed at once",
        MWMS, GANG,
        [*started(*GANG), StopAsked(5, Outcome.INTERRUPTED), StopAsked(6, Outcome.TERMINATED)],
        [*term(*GANG), *kill(*GANG)], Phase.STOPPING, Outcome.INTERRUPTED, "running running",
    ),
    History(
        "a start on its way when the run is stopped is stopped as soon as it is there",
        MWMS, GANG,
        [*started(CHIEF), StopAsked(5, Outcome.INTERRUPTED), Exited(6, CHIEF, 1, 0),
         Started(7, WORKER, 1)],
        [*term(CHIEF), *term(WORKER)], Phase.STOPPING, Outcome.INTERRUPTED, "succeeded running",
        wake_at=7 + GRACE_S,
    ),
    History(
        "a start on its way when it was asked twice is killed as soon as it is there",
        MWMS, GANG,
        [StopAsked(5, Outcome.INTERRUPTED), StopAsked(6, Outcome.INTERRUPTED),
         *started(*GANG, at=7)],
        [*term(CHIEF), *kill(CHIEF), *term(WORKER), *kill(WORKER)],
        Phase.STOPPING, Outcome.INTERRUPTED, "running running",
    ),
    History(
        "a task that cannot be started ends the run",
        MWMS, GANG,
        [*started(CHIEF), StartFailed(1, WORKER, 1, "no such program"), Exited(2, CHIEF, 1, -15)],
        term(CHIEF), Phase.FINISHED, Outcome.NOT_STARTED, "consequence not started",
        first_failure=WORKER,
    ),
    History(
        "no task could be started",
        MWMS, GANG,
        [StartFailed(1, CHIEF, 1, "x"), StartFailed(2, WORKER, 1, "x")],
        [], Phase.FINISHED, Outcome.NOT_STARTED, "not started not started", first_failure=CHIEF,
    ),
    History(
        "a host that is lost ends the run, the others are stopped",
        MWMS, GANG,
        [*started(*GANG), Lost(5, WORKER, 1, "gpu2 does not answer"), Exited(6, CHIEF, 1, 1)],
        term(CHIEF), Phase.FINISHED, Outcome.HOST_LOST, "consequence failed",
        first_failure=WORKER,
    ),
    History(
        "an evaluator whose host is lost does not end the run",
        PSS, (*CLUSTER, EVALUATOR),
        [*started(*CLUSTER, EVALUATOR), Lost(5, EVALUATOR, 1, "gone"), Exited(6, CHIEF, 1, 0)],
        term(WORKER, PS), Phase.STOPPING, Outcome.SUCCEEDED, "succeeded running running failed",
        wake_at=6 + GRACE_S,
    ),
    History(
        "a host that is lost after the stop keeps nobody waiting",
        MWMS, GANG,
        [*started(*GANG), StopAsked(5, Outcome.INTERRUPTED), Exited(6, CHIEF, 1, 0),
         Lost(7, WORKER, 1, "gone")],
        term(*GANG), Phase.FINISHED, Outcome.INTERRUPTED, "succeeded stopped",
    ),
    History(
        "run_s is over",
        MWMS, GANG,
        [*started(*GANG), Tick(59.9), Tick(60), Exited(61, CHIEF, 1, 0)],
        term(*GANG), Phase.STOPPING, Outcome.TIMED_OUT, "succeeded running",
        wake_at=60 + GRACE_S, timeouts=Timeouts(run_s=60, grace_s=GRACE_S),
    ),
    History(
        "run_s is noticed at whatever event comes after it, and without grace all is killed",
        MWMS, GANG,
        [*started(*GANG), Exited(61, CHIEF, 1, 0)],
        [*term(WORKER), *kill(WORKER)], Phase.STOPPING, Outcome.TIMED_OUT, "succeeded running",
        timeouts=Timeouts(run_s=60, grace_s=0),
    ),
    History(
        "PSS: when the chief has ended the servers are stopped, and the run has succeeded",
        PSS, CLUSTER,
        [*started(*CLUSTER), Exited(5, CHIEF, 1, 0), Exited(6, WORKER, 1, -15),
         Exited(6, PS, 1, -15)],
        term(WORKER, PS), Phase.FINISHED, Outcome.SUCCEEDED, "succeeded stopped stopped",
    ),
    History(
        "PSS: a server that leaves by itself is no end",
        PSS, CLUSTER,
        [*started(*CLUSTER), Exited(5, WORKER, 1, 0)],
        [], Phase.RUNNING, None, "running succeeded running",
    ),
    History(
        "PSS: a server that fails ends the run, its peers within their grace",
        PSS, CLUSTER,
        [*started(*CLUSTER), Exited(5, PS, 1, 1)],
        term(CHIEF, WORKER), Phase.STOPPING, Outcome.FAILED, "running running failed",
        first_failure=PS, wake_at=5 + GRACE_S,
    ),
    History(
        "the evaluator fails, the run goes on and succeeds",
        MWMS, (CHIEF, EVALUATOR),
        [*started(CHIEF, EVALUATOR), Exited(5, EVALUATOR, 1, 1), Exited(9, CHIEF, 1, 0)],
        [], Phase.FINISHED, Outcome.SUCCEEDED, "succeeded failed",
    ),
    History(
        "the evaluator cannot be started, the run goes on and succeeds",
        MWMS, (CHIEF, EVALUATOR),
        [*started(CHIEF), StartFailed(1, EVALUATOR, 1, "x"), Exited(9, CHIEF, 1, 0)],
        [], Phase.FINISHED, Outcome.SUCCEEDED, "succeeded not started",
    ),
    History(
        "the evaluator has its grace for the last checkpoint",
        MWMS, (CHIEF, EVALUATOR),
        [*started(CHIEF, EVALUATOR), Exited(9, CHIEF, 1, 0)],
        [], Phase.STOPPING, Outcome.SUCCEEDED, "succeeded running",
        wake_at=9 + GRACE_S,
    ),
    History(
        "an evaluator that never ends is asked to once its grace is over",
        MWMS, (CHIEF, EVALUATOR),
        [*started(CHIEF, EVALUATOR), Exited(9, CHIEF, 1, 0), Tick(9 + GRACE_S)],
        term(EVALUATOR), Phase.STOPPING, Outcome.SUCCEEDED, "succeeded running",
        wake_at=9 + 2 * GRACE_S,
    ),
    History(
        "the user need not wait for the evaluator",
        MWMS, (CHIEF, EVALUATOR),
        [*started(CHIEF, EVALUATOR), Exited(9, CHIEF, 1, 0), StopAsked(10, Outcome.INTERRUPTED)],
        kill(EVALUATOR), Phase.STOPPING, Outcome.SUCCEEDED, "succeeded running",
    ),
    History(
        "events of another attempt, of an ended one and of no task of the run change nothing",
        MWMS, GANG,
        [*started(*GANG), Exited(5, CHIEF, 2, 1), StartFailed(5, CHIEF, 0, "x"),
         Started(5, WORKER, 1), Exited(5, PS, 1, 1), Exited(6, CHIEF, 1, 0),
         Exited(7, CHIEF, 1, 1), Started(7, CHIEF, 1), StartFailed(7, CHIEF, 1, "x")],
        [], Phase.RUNNING, None, "succeeded running",
    ),
    History(
        "nothing happens after the end",
        MWMS, (CHIEF,),
        [*started(CHIEF), Exited(5, CHIEF, 1, 0), StopAsked(6, Outcome.INTERRUPTED), Tick(10**6)],
        [], Phase.FINISHED, Outcome.SUCCEEDED, "succeeded",
    ),
]  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.promise)
def test_history(history: History) -> None:
    """Each history of events leads to exactly these commands and this end."""
    run, commands = begin(history.tasks, history.strategy, history.timeouts, at=0.0)
    assert commands == tuple(Start(task, 1) for task in history.tasks)
    done: list[Command] = []
    for event in history.events:
        run, commands = step(run, event)
        done += commands
    assert done == history.commands
    assert (run.phase, run.outcome) == (history.phase, history.outcome)
    assert " ".join(attempt.state for attempt in run.tasks.values()) == history.states
    assert run.first_failure == history.first_failure
    if history.phase is not Phase.RUNNING:
        assert wake_at(run) == history.wake_at


def test_what_is_kept_of_an_attempt() -> None:
    """Times, exit code and reason of each attempt are kept for the report."""
    run, _ = begin(GANG, MWMS, LIMITS, at=1.0)
    for event in (Started(2, CHIEF, 1), StartFailed(3, WORKER, 1, "no"), Exited(4, CHIEF, 1, -15)):
        run, _ = step(run, event)
    chief, worker = run.tasks[CHIEF], run.tasks[WORKER]
    assert (chief.started_at, chief.ended_at, chief.code) == (2, 4, -15)
    assert (worker.started_at, worker.ended_at, worker.reason) == (None, 3, "no")


def test_unfinished_tasks() -> None:
    """The tasks that have not ended are those that wait or run."""
    run, _ = begin((CHIEF, WORKER, WORKER_1), MWMS, LIMITS, at=0.0)
    run, _ = step(run, Started(1, CHIEF, 1))
    run, _ = step(run, Exited(2, CHIEF, 1, 0))
    run, _ = step(run, Started(3, WORKER, 1))
    assert list(unfinished(run)) == [WORKER, WORKER_1]


# properties


@dataclass
class World:
    """Tasks that obey commands as real ones may: late, or only when killed."""

    data: st.DataObject
    now: float = 0.0
    starting: dict[TaskId, int] = field(default_factory=dict)
    running: dict[TaskId, int] = field(default_factory=dict)
    killed: set[TaskId] = field(default_factory=set)
    started: list[tuple[TaskId, int]] = field(default_factory=list)
    asked: set[TaskId] = field(default_factory=set)
    stops: int = 0
    saves: int = 0
    progress: int = 0

    def perform(self, commands: tuple[Command, ...], run: Run) -> None:
        for command in commands:
            if isinstance(command, Start):
                assert run.phase is Phase.RUNNING
                assert command.task not in self.running.keys() | self.starting.keys()
                assert (command.task, command.attempt) not in self.started
                self.starting[command.task] = command.attempt
                self.started.append((command.task, command.attempt))
                self.killed.discard(command.task)
                continue
            if isinstance(command, LookForLife):
                continue
            assert self.running.get(command.task) == command.attempt, "only what runs is acted on"
            if isinstance(command, Stop) and command.kill:
                self.killed.add(command.task)

    def next(self, run: Run) -> Event:
        """Return something that may happen now."""
        self.now += self.data.draw(st.sampled_from([0.0, 0.3, 2.0, 40.0]), "passing time")
        choices: list[str] = ["tick", "stop", "stale", "step", "looked"]
        choices += ["start"] * 4 * bool(self.starting) + ["end", "up", "up"] * bool(self.running)
        match self.data.draw(st.sampled_from(choices)):
            case "start":
                return self._start()
            case "up":
                task = self.data.draw(st.sampled_from(sorted(self.running)))
                return Up(self.now, task, self.running[task])
            case "step" if self.running:
                self.progress += 1
                return Progressed(self.now, self.data.draw(st.sampled_from([None, self.progress])))
            case "looked":
                return Looked(self.now, self.data.draw(st.sampled_from([None, self.now - 1])))
            case "end":
                return self._end(self.data.draw(st.sampled_from(sorted(self.running))))
            case "stop" if self.stops < 3 and self.data.draw(st.booleans()):
                self.stops += 1
                asked = st.sampled_from([Outcome.INTERRUPTED, Outcome.TERMINATED])
                return StopAsked(self.now, self.data.draw(asked))
            case "stale":
                task = self.data.draw(st.sampled_from(sorted(run.tasks)))
                return Exited(self.now, task, 99, 1)
        return Tick(self.now)

    def ending(self, run: Run) -> Event:
        """Return the next of what is left to happen, until the run has ended."""
        if self.starting:
            return self._start()
        if self.killed & self.running.keys():
            return self._end(min(self.killed & self.running.keys()))
        if self.running:
            return self._end(min(self.running))
        due = wake_at(run)
        assert due is not None, "nothing lives, nothing is due, and the run has not ended"
        self.now = max(self.now, due)
        return Tick(self.now)

    def _start(self) -> Event:
        task = self.data.draw(st.sampled_from(sorted(self.starting)))
        attempt = self.starting.pop(task)
        if self.data.draw(st.integers(0, 9)) == 0:
            return StartFailed(self.now, task, attempt, "refused")
        self.running[task] = attempt
        return Started(self.now, task, attempt)

    def _end(self, task: TaskId) -> Event:
        attempt = self.running.pop(task)
        if self.data.draw(st.integers(0, 9)) == 0:
            return Lost(self.now, task, attempt, "out of reach")
        codes = [0, 0, 1, -15] + [42] * (self.saves < 3)
        code = -9 if task in self.killed else self.data.draw(st.sampled_from(codes))
        self.saves += code == 42
        cause = self.data.draw(st.sampled_from([Cause.UNKNOWN, Cause.PEER_LOST, Cause.PORT_TAKEN]))
        return Exited(self.now, task, attempt, code, cause=cause)


clusters = st.one_of(
    st.tuples(st.just(MWMS), st.sampled_from([(CHIEF,), GANG, (*GANG, WORKER_1, EVALUATOR)])),
    st.tuples(st.just(PSS), st.sampled_from([CLUSTER, (*CLUSTER, WORKER_1, EVALUATOR)])),
)
limits = st.builds(
    Timeouts,
    start_s=st.sampled_from([10.0, 300.0]),
    stalled_s=st.sampled_from([None, 20.0]),
    run_s=st.sampled_from([None, 0.0, 600.0]),
    grace_s=st.sampled_from([0.0, 30.0]),
)
budgets = st.builds(
    Restarts,
    max=st.integers(0, 3),
    backoff_s=st.sampled_from([0.0, 5.0]),
    on=st.sampled_from([tuple(FailureKind), (FailureKind.SIGNAL,)]),
    move=st.booleans(),
)


def check(before: Run, event: Event, after: Run, commands: tuple[Command, ...]) -> None:
    """Hold what is true of every step."""
    assert step(before, event) == (after, commands), "the same history gives the same commands"
    assert (after.outcome is None) == (after.phase is Phase.RUNNING)
    if before.outcome is not None and after.outcome is not Outcome.SAVED:
        assert before.outcome is after.outcome, "why a run stops never changes"
    assert before.first_failure in (None, after.first_failure)
    due = wake_at(after)
    assert due is None or due > event.at, "what was due has been done"
    assert after.used <= after.restarts.max, "no more restarts than there is budget for"
    for task, attempt in before.tasks.items():
        now = after.tasks[task]
        if now.number != attempt.number:
            assert attempt.state in FINAL or task == getattr(event, "task", None)
            assert (now.number, now.state) == (attempt.number + 1, TaskState.WAITING)
        elif attempt.state in FINAL and attempt.missed_at is None:
            assert now._replace(missed_at=None) == attempt, "what has ended stays as it ended"


@given(clusters, limits, budgets, st.data())
def test_every_history_ends_well(
    cluster: tuple[Strategy, tuple[TaskId, ...]],
    timeouts: Timeouts,
    restarts: Restarts,
    data: st.DataObject,
) -> None:
    """However things happen: each step holds its rules, no two attempts of a task live at once,
    the budget is kept, and the run ends when its tasks have."""
    strategy, tasks = cluster
    world = World(data)
    run, commands = begin(tasks, strategy, timeouts, 0.0, restarts)
    world.perform(commands, run)
    left = data.draw(st.integers(0, 20), "events")
    for _ in range(1000):
        event = world.next(run) if left > 0 else world.ending(run)
        left -= 1
        after, commands = step(run, event)
        check(run, event, after, commands)
        run = after
        world.perform(commands, run)
        if run.phase is Phase.FINISHED:
            break
    assert run.phase is Phase.FINISHED
    assert run.outcome is not None
    assert not world.running and not world.starting
    assert {attempt.state for attempt in run.tasks.values()} <= FINAL


@given(clusters, st.sampled_from([0.0, 30.0]))
def test_ticks_alone_end_a_stopped_run(
    cluster: tuple[Strategy, tuple[TaskId, ...]], grace_s: float
) -> None:
    """After a stop, waking when the run wants to kills whatever does not end by itself."""
    strategy, tasks = cluster
    run, _ = begin(tasks, strategy, Timeouts(grace_s=grace_s), at=0.0)
    for task in tasks:
        run, _ = step(run, Started(0.0, task, 1))
    killed: list[TaskId] = []
    run, commands = step(run, StopAsked(1.0, Outcome.INTERRUPTED))
    killed += [c.task for c in commands if isinstance(c, Stop) and c.kill]
    while (due := wake_at(run)) is not None:
        run, commands = step(run, Tick(due))
        killed += [c.task for c in commands if isinstance(c, Stop) and c.kill]
    assert sorted(killed) == sorted(tasks)
