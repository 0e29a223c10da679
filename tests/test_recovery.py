"""What launcher.recovery promises: what starts again after which failure, when, and what does not.

Each history is told as the events of a run whose tasks all are up, and the commands that follow.
"""

from dataclasses import dataclass, field

import pytest

from launcher.changes import REPORT_S
from launcher.cluster import FailureKind, Restarts, Timeouts
from launcher.due import wake_at
from launcher.events import (
    Command,
    DumpStacks,
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
from launcher.run import Outcome, Phase, Run, TaskState
from launcher.signs import Cause
from launcher.strategy import Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

MWMS, PSS = Strategy.MULTI_WORKER_MIRRORED, Strategy.PARAMETER_SERVER
WORKER, WORKER_1 = TaskId(TaskType.WORKER, 0), TaskId(TaskType.WORKER, 1)
PS = TaskId(TaskType.PS, 0)
GANG, CLUSTER = (CHIEF, WORKER), (CHIEF, WORKER, PS)


def there(*tasks: TaskId, attempt: int = 1, at: float = 1.0) -> list[Event]:
    """Return the events of tasks that start and are up."""
    events: list[Event] = [Started(at, task, attempt) for task in tasks]
    return events + [Up(at, task, attempt) for task in tasks if task != EVALUATOR]


def starts(*tasks: TaskId, attempt: int = 2, anew: bool = False) -> list[Command]:
    return [Start(task, attempt, anew) for task in tasks]


def term(*tasks: TaskId, attempt: int = 1) -> list[Command]:
    return [Stop(task, attempt, kill=False) for task in tasks]


def kill(*tasks: TaskId, attempt: int = 1) -> list[Command]:
    return [Stop(task, attempt, kill=True) for task in tasks]


@dataclass
class History:
    """Events of a run, the commands that follow its start, and how it then stands."""

    promise: str
    strategy: Strategy
    tasks: tuple[TaskId, ...]
    events: list[Event]
    commands: list[Command]
    outcome: Outcome | None = None
    restarts: Restarts = field(default_factory=Restarts)
    timeouts: Timeouts = field(default_factory=Timeouts)
    blames: TaskId | None = None


HISTORIES = [
    History(
        "MWMS: a lost worker takes the gang down, which starts again at once",
        MWMS, GANG,
        [*there(*GANG), Exited(9, WORKER, 1, -9), Exited(9.2, CHIEF, 1, 1, cause=Cause.PEER_LOST)],
        [*term(CHIEF), *starts(*GANG)],
    ),
    History(
        "MWMS: who is deaf to SIGTERM is killed after a moment",
        MWMS, GANG,
        [*there(*GANG), Exited(9, WORKER, 1, -9), Tick(9 + REPORT_S), Exited(11, CHIEF, 1, -9)],
        [*term(CHIEF), *kill(CHIEF), *starts(*GANG)],
    ),
    History(
        "MWMS: before the cluster has formed the others are killed at once",
        MWMS, GANG,
        [Started(1, CHIEF, 1), Started(1, WORKER, 1), Up(2, CHIEF, 1), Exited(9, WORKER, 1, -9)],
        kill(CHIEF),
    ),
    History(
        "MWMS: an evaluator outlives a restart of the gang",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Exited(9, CHIEF, 1, -9), Exited(9.2, WORKER, 1, -15)],
        [*term(WORKER), *starts(*GANG)],
    ),
    History(
        "MWMS: a consequence that is seen first does not hide an error that starting cannot cure",
        MWMS, GANG,
        [*there(*GANG)[:3], Exited(9, WORKER, 1, 1, cause=Cause.PEER_LOST),
         Exited(9.1, CHIEF, 1, 2, cause=Cause.CONFIGURATION)],
        [], Outcome.FAILED, blames=CHIEF,
    ),
    History(
        "MWMS: who lost a peer while forming waits a moment for the one whose own end that was",
        MWMS, (*GANG, WORKER_1),
        [*there(*GANG), Started(1, WORKER_1, 1), Exited(9, WORKER, 1, 1, cause=Cause.PEER_LOST),
         Tick(9.2), Exited(9.3, CHIEF, 1, 1), Exited(9.4, WORKER_1, 1, -9)],
        kill(WORKER_1), Outcome.FAILED, blames=CHIEF,
    ),
    History(
        "MWMS: so does one whose transport failed, and another consequence changes nothing",
        MWMS, (*GANG, WORKER_1),
        [*there(*GANG), Started(1, WORKER_1, 1), Exited(9, WORKER, 1, 1, cause=Cause.TRANSPORT),
         Exited(9.3, WORKER_1, 1, 1, cause=Cause.PEER_LOST), Exited(9.5, CHIEF, 1, 1)],
        [], Outcome.FAILED, blames=CHIEF,
    ),
    History(
        "MWMS: where nobody else has failed in that moment, all start again",
        MWMS, GANG,
        [*there(*GANG)[:3], Exited(9, WORKER, 1, 1, cause=Cause.PEER_LOST), Tick(9 + REPORT_S),
         Exited(10.1, CHIEF, 1, -9)],
        [*kill(CHIEF), *starts(*GANG)],
    ),
    History(
        "MWMS: what has formed starts again whatever came first: nobody is waited for",
        MWMS, GANG,
        [*there(*GANG), Exited(9, WORKER, 1, 1, cause=Cause.PEER_LOST),
         Exited(9.3, CHIEF, 1, 1)],
        [*term(CHIEF), *starts(*GANG)],
    ),
    History(
        "PSS: a chief that lost its ps while forming starts once the ps had its moment to fail",
        PSS, CLUSTER,
        [*there(CHIEF, WORKER), Started(1, PS, 1),
         Exited(9, CHIEF, 1, 1, cause=Cause.PEER_LOST), Exited(9.5, PS, 1, 1),
         Exited(9.6, WORKER, 1, -9)],
        kill(WORKER), Outcome.FAILED, blames=PS,
    ),
    History(
        "an error of its own before the cluster has formed is not tried again",
        MWMS, GANG,
        [Started(1, CHIEF, 1), Started(1, WORKER, 1), Exited(3, WORKER, 1, 1),
         Exited(3.5, CHIEF, 1, -15)],
        term(CHIEF), Outcome.FAILED,
    ),
    History(
        "a port that was taken gets the whole gang new places",
        PSS, CLUSTER,
        [Started(1, CHIEF, 1), Started(1, WORKER, 1), Started(1, PS, 1),
         Exited(3, PS, 1, 1, cause=Cause.PORT_TAKEN), Exited(4, CHIEF, 1, -15),
         Exited(4, WORKER, 1, -15)],
        [*term(CHIEF, WORKER), *starts(*CLUSTER, anew=True)],
    ),
    History(
        "PSS: a lost worker starts again alone",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9)],
        starts(WORKER),
    ),
    History(
        "PSS: a lost chief starts again alone",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, CHIEF, 1, 1)],
        starts(CHIEF),
    ),
    History(
        "PSS: a lost ps takes everything with it",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, PS, 1, -9), Exited(9.1, WORKER, 1, -15),
         Exited(9.2, CHIEF, 1, -15)],
        [*term(CHIEF, WORKER), *starts(*CLUSTER)],
    ),
    History(
        "PSS: a lost ps costs one restart, also where the chief noticed before we did",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, CHIEF, 1, 1, cause=Cause.PEER_LOST), Exited(9.5, PS, 1, -9),
         Exited(9.6, WORKER, 1, -15)],
        [*term(WORKER), *starts(*CLUSTER)],
        restarts=Restarts(max=1),
    ),
    History(
        "PSS: a chief that lost its peer waits a moment for what else was lost, then starts again",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, CHIEF, 1, 1, cause=Cause.PEER_LOST), Tick(9.9), Tick(10)],
        starts(CHIEF),
    ),
    History(
        "PSS: a ps lost while a worker waits to start again takes that along",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9), *there(WORKER, attempt=2, at=10),
         Exited(11, WORKER, 2, -9), Exited(12, PS, 1, -9), Exited(12.1, CHIEF, 1, -15), Tick(17.2)],
        [*starts(WORKER), *term(CHIEF), Start(CHIEF, 2), Start(WORKER, 3), Start(PS, 2)],
    ),
    History(
        "PSS: a server that ends with 0 while its chief goes on is started again after a while",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, 0), Tick(18), Tick(19)],
        starts(WORKER),
    ),
    History(
        "PSS: a server that was told of the end a little before the chief has ended has not failed",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, 0), Exited(10, CHIEF, 1, 0),
         Exited(11, PS, 1, -15)],
        term(PS), Outcome.SUCCEEDED,
    ),
    History(
        "PSS: what fails together costs one restart and no wait, also where it starts again alone",
        PSS, (CHIEF, WORKER, WORKER_1, PS),
        [*there(CHIEF, WORKER, WORKER_1, PS), Exited(9, CHIEF, 1, -9), Exited(9.5, WORKER, 1, -9),
         *there(CHIEF, attempt=2, at=10), Exited(20, WORKER_1, 1, -9, ended_at=8.9)],
        [*starts(CHIEF), *starts(WORKER), *starts(WORKER_1)],
        restarts=Restarts(max=1),
    ),
    History(
        "PSS: what fails again after its restart has been counted is counted again",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9), *there(WORKER, attempt=2, at=9.1),
         Exited(9.2, WORKER, 2, -9), Exited(9.3, CHIEF, 1, -15), Exited(9.3, PS, 1, -15)],
        [*starts(WORKER), *term(CHIEF, PS)], Outcome.FAILED,
        restarts=Restarts(max=1),
    ),
    History(
        "the second restart waits, the third twice as long, and there is no fourth",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, CHIEF, 1, -9), *there(CHIEF, attempt=2, at=10),
         Exited(20, CHIEF, 2, -9), Tick(24.9), Tick(25), *there(CHIEF, attempt=3, at=26),
         Exited(30, CHIEF, 3, -9), Tick(39.9), Tick(40), *there(CHIEF, attempt=4, at=41),
         Exited(50, CHIEF, 4, -9), Exited(51, PS, 1, -15), Exited(51, WORKER, 1, -15)],
        [*starts(CHIEF), *starts(CHIEF, attempt=3), *starts(CHIEF, attempt=4), *term(WORKER, PS)],
        Outcome.FAILED,
    ),
    History(
        "progress beyond that of the last restart refills the budget",
        PSS, CLUSTER,
        [*there(*CLUSTER), Progressed(5, 100), Exited(9, CHIEF, 1, -9),
         *there(CHIEF, attempt=2, at=10), Progressed(12, 101), Exited(20, CHIEF, 2, -9)],
        [*starts(CHIEF), *starts(CHIEF, attempt=3)],
        restarts=Restarts(max=1),
    ),
    History(
        "the same steps once more are no progress",
        PSS, CLUSTER,
        [*there(*CLUSTER), Progressed(5, 100), Exited(9, CHIEF, 1, -9),
         *there(CHIEF, attempt=2, at=10), Progressed(12, 100), Exited(20, CHIEF, 2, -9),
         Exited(21, PS, 1, -15), Exited(21, WORKER, 1, -15)],
        [*starts(CHIEF), *term(WORKER, PS)], Outcome.FAILED,
        restarts=Restarts(max=1),
    ),
    History(
        "a kind of failure that `on` does not name ends the run",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, CHIEF, 1, -9), Exited(10, PS, 1, -15),
         Exited(10, WORKER, 1, -15)],
        term(WORKER, PS), Outcome.FAILED,
        restarts=Restarts(on=(FailureKind.STALLED,)),
    ),
    History(
        "MWMS: a stop that nobody asked us for starts the gang again, at no cost",
        MWMS, GANG,
        [*there(*GANG), Exited(9, WORKER, 1, 42), Exited(9.1, CHIEF, 1, 42)],
        starts(*GANG),
        restarts=Restarts(max=0),
    ),
    History(
        "MWMS: a stop that was asked for ends with the state saved",
        MWMS, GANG,
        [*there(*GANG), StopAsked(8, Outcome.TERMINATED), Exited(9, WORKER, 1, 42),
         Exited(9.1, CHIEF, 1, 42)],
        term(*GANG), Outcome.SAVED,
    ),
    History(
        "PSS: the chief is asked first and saves while it still has its servers",
        PSS, CLUSTER,
        [*there(*CLUSTER), StopAsked(8, Outcome.TERMINATED), Exited(9, CHIEF, 1, 42),
         Exited(9.1, WORKER, 1, -15), Exited(9.1, PS, 1, -15)],
        [*term(CHIEF), *term(WORKER, PS)], Outcome.SAVED,
    ),
    History(
        "^C stays ^C, whatever was saved",
        MWMS, GANG,
        [*there(*GANG), StopAsked(8, Outcome.INTERRUPTED), Exited(9, WORKER, 1, 42),
         Exited(9.1, CHIEF, 1, 42)],
        term(*GANG), Outcome.INTERRUPTED,
    ),
    History(
        "who waits for a task that does not come is ended after start_s, at once",
        MWMS, GANG,
        [Started(1, CHIEF, 1), Started(1, WORKER, 1), Up(2, CHIEF, 1), Tick(301.9), Tick(302),
         Exited(303, CHIEF, 1, -9), Exited(303, WORKER, 1, -9)],
        kill(*GANG), Outcome.NOT_FORMED,
    ),
    History(
        "who ended with 0 before the cluster has formed is missing: nobody waits for it for ever",
        MWMS, GANG,
        [Started(1, CHIEF, 1), Started(1, WORKER, 1), Up(2, CHIEF, 1), Exited(3, CHIEF, 1, 0),
         Up(4, WORKER, 1), Tick(302), Exited(303, WORKER, 1, -9)],
        kill(WORKER), Outcome.NOT_FORMED,
    ),
    History(
        "without progress for stalled_s all say where they are, are killed and start again",
        PSS, CLUSTER,
        [*there(*CLUSTER), Progressed(5, 100, 500), Tick(24.9), Tick(25), Tick(28),
         Exited(28.1, CHIEF, 1, -9), Exited(28.1, WORKER, 1, -9), Exited(28.1, PS, 1, -9)],
        [*(DumpStacks(t, 1) for t in CLUSTER), *kill(*CLUSTER), *starts(*CLUSTER)],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "a run that stalls again without having made progress ends as stalled",
        MWMS, GANG,
        [*there(*GANG), Tick(21), Looked(21, None), Tick(24),
         Exited(24.5, CHIEF, 1, 1), Exited(24.5, WORKER, 1, 1)],
        [LookForLife(), *(DumpStacks(t, 1) for t in GANG), *term(*GANG)], Outcome.STALLED,
        restarts=Restarts(max=0), timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "event files that grow are life: a silent script stalls when they have not for stalled_s",
        MWMS, GANG,
        [*there(*GANG), Tick(21), Looked(21.2, 15), Tick(34), Tick(35), Looked(35.1, 15)],
        [LookForLife(), LookForLife(), *(DumpStacks(t, 1) for t in GANG)],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "where no host says in time whether event files grow, the run has stalled",
        MWMS, GANG,
        [*there(*GANG), Tick(21), Tick(40.9), Tick(41)],
        [LookForLife(), *(DumpStacks(t, 1) for t in GANG)],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "an answer that comes late and shows life spares what is saying where it is",
        MWMS, GANG,
        [*there(*GANG), Tick(21), Tick(41), Looked(42, 41.5), Tick(44)],
        [LookForLife(), *(DumpStacks(t, 1) for t in GANG)],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "what fails while it says where it is starts again, and has stalled no more",
        MWMS, GANG,
        [*there(*GANG), Progressed(5, 100, 500), Tick(25), Exited(25.2, WORKER, 1, -11),
         Exited(25.3, CHIEF, 1, -15), Started(25.5, CHIEF, 2), Started(25.5, WORKER, 2),
         Tick(28.1)],
        [*(DumpStacks(t, 1) for t in GANG), *term(CHIEF), *starts(*GANG)],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "what prints while its event files are looked at has not stalled, whatever they tell",
        MWMS, GANG,
        [*there(*GANG), Tick(21), Progressed(21.1, None), Looked(21.2, None), Tick(41)],
        [LookForLife()],
        timeouts=Timeouts(stalled_s=20),
    ),
    History(
        "a script that tells no steps may be silent for as long as it likes",
        MWMS, GANG,
        [*there(*GANG), Progressed(5, None), Tick(10**6)],
        [],
    ),
    History(
        "a loop that tells its steps may take 600 s for one where nothing is set",
        MWMS, GANG,
        [*there(*GANG), Progressed(5, 1, 10), Tick(604), Tick(605)],
        [DumpStacks(t, 1) for t in GANG],
    ),
    History(
        "after the last step there is no limit: what follows tells no steps",
        MWMS, GANG,
        [*there(*GANG), Progressed(5, 10, 10), Tick(10**6)],
        [],
    ),
    History(
        "a lost host ends the run",
        MWMS, GANG,
        [*there(*GANG), Lost(9, WORKER, 1, "gone"), Exited(9.1, CHIEF, 1, 1)],
        term(CHIEF), Outcome.HOST_LOST,
    ),
    History(
        "where tasks may move, a lost host has all of them placed anew",
        PSS, CLUSTER,
        [*there(*CLUSTER), Lost(9, WORKER, 1, "gone"), Exited(9.1, CHIEF, 1, -15),
         Exited(9.1, PS, 1, -15)],
        [*term(CHIEF, PS), *starts(*CLUSTER, anew=True)],
        restarts=Restarts(move=True),
    ),
    History(
        "where tasks may move, an evaluator whose host is lost is placed anew, alone",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Lost(9, EVALUATOR, 1, "gone"), Tick(10)],
        starts(EVALUATOR, anew=True),
        restarts=Restarts(move=True),
    ),
    History(
        "an evaluator waits for its place until those of the cluster have theirs",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Lost(9, EVALUATOR, 1, "gone"), Lost(9.2, CHIEF, 1, "gone"),
         Tick(10.5), Exited(11, WORKER, 1, -9), Tick(12), *there(*GANG, attempt=2, at=13)],
        [*term(WORKER), Stop(WORKER, 1, True), *starts(*GANG, anew=True),
         *starts(EVALUATOR, anew=True)],
        restarts=Restarts(move=True),
    ),
    History(
        "where tasks may not move, the run goes on without an evaluator whose host is lost",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Lost(9, EVALUATOR, 1, "gone"), Tick(60)],
        [],
    ),
    History(
        "a host whose Docker was started again keeps its tasks: what died with it starts there",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9, cause=Cause.HOST_UNREACHABLE)],
        starts(WORKER),
    ),
    History(
        "a restart that does not begin is a failure like another",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9), StartFailed(10, WORKER, 2, "no Docker"),
         Tick(15)],
        [*starts(WORKER), *starts(WORKER, attempt=3)],
    ),
    History(
        "a place that was not found is looked for again, for all that know the address",
        PSS, CLUSTER,
        [*there(*CLUSTER), Lost(9, WORKER, 1, "gone"), Exited(9.1, CHIEF, 1, -15),
         Exited(9.1, PS, 1, -15), *(StartFailed(10, task, 2, "no room", True) for task in CLUSTER),
         Tick(15)],
        [*term(CHIEF, PS), *starts(*CLUSTER, anew=True), *starts(*CLUSTER, attempt=3, anew=True)],
        restarts=Restarts(move=True),
    ),
    History(
        "an evaluator that ends with 0 while training goes on starts again alone",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Progressed(5, 10, 100), Exited(9, EVALUATOR, 1, 0),
         Progressed(10, 20, 100), Tick(19)],
        starts(EVALUATOR),
    ),
    History(
        "an evaluator that ends with 0 a moment before the last step is told has done its work",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Progressed(5, 90, 100), Exited(9, EVALUATOR, 1, 0),
         Progressed(10, 100, 100), Tick(19)],
        [],
    ),
    History(
        "an evaluator may end with 0 where nobody tells how many steps there are",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Progressed(5, 10), Exited(9, EVALUATOR, 1, 0), Tick(19)],
        [],
    ),
    History(
        "an evaluator that is killed starts again alone, and costs the run nothing",
        MWMS, (*GANG, EVALUATOR),
        [*there(*GANG, EVALUATOR), Exited(9, EVALUATOR, 1, -9)],
        starts(EVALUATOR),
    ),
    History(
        "a stop while a restart waits starts nothing more",
        PSS, CLUSTER,
        [*there(*CLUSTER), Exited(9, WORKER, 1, -9), *there(WORKER, attempt=2, at=10),
         Exited(11, WORKER, 2, -9), StopAsked(12, Outcome.TERMINATED), Tick(20),
         Exited(21, CHIEF, 1, 42), Exited(22, PS, 1, -15)],
        [*starts(WORKER), *term(CHIEF), *term(PS)], Outcome.SAVED,
    ),
]  # fmt: skip


def told(history: History) -> tuple[Run, list[Command]]:
    """Return how a run stands after a history, and all that was to be done."""
    run, _ = begin(history.tasks, history.strategy, history.timeouts, 0.0, history.restarts)
    done: list[Command] = []
    for event in history.events:
        run, commands = step(run, event)
        done += commands
    return run, done


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.promise)
def test_history(history: History) -> None:
    """Each history leads to exactly these commands and this end."""
    run, done = told(history)
    assert done == history.commands
    assert run.outcome == history.outcome
    if history.blames is not None:
        assert run.first_failure == history.blames
        assert run.tasks[history.blames].state is TaskState.FAILED
    assert run.phase is (Phase.RUNNING if history.outcome is None else Phase.FINISHED)


def test_failures_are_kept() -> None:
    """What failed, at which step and why is kept for the report, in order."""
    history = next(h for h in HISTORIES if h.promise.startswith("progress beyond"))
    run, _ = told(history)
    assert [(f.task, f.attempt, f.code, f.step) for f in run.failures] == [
        (CHIEF, 1, -9, 100),
        (CHIEF, 2, -9, 101),
    ]


def test_waking_for_a_restart() -> None:
    """A restart that waits is what the run wakes for."""
    history = next(
        h for h in HISTORIES if h.promise.startswith("a ps lost") or "a ps lost" in h.promise
    )
    run, _ = told(History("", PSS, CLUSTER, history.events[:-4], [], restarts=Restarts()))
    run, _ = step(run, Exited(11, WORKER, 2, -9))
    assert wake_at(run) == 16.0
