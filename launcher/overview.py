"""What is known of a run at a glance: which tasks are up, which are missing, what state it is in.

Pure: what containers and run folders say comes in as values, the time too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from launcher.found import Found
from launcher.task import TaskId, TaskType

_ORDER = tuple(TaskType)
STARTS_S = 300.0  # for so long after its youngest container was made a run may still be starting


class State(StrEnum):
    """How a run is, as far as those who were asked know."""

    STARTING = "starting"  #: containers are being made
    RUNNING = "running"  #: every task is up, or has ended with 0
    UNSUPERVISED = "running, no launcher"  #: processes whose launcher was killed
    PARTLY_LOST = "partly lost"  #: some tasks are up; others are gone or have failed
    PARTLY_SEEN = "partly seen"  #: others may be on hosts that do not answer
    PAUSING = "ending or restarting"  #: nothing is up, and its launcher is at it
    NEVER_STARTED = "never started"  #: containers were made long ago, and none of them ran
    ENDED = "ended, not collected"
    KEPT = "ended, kept on hosts"  #: its results are home
    OVER = "ended"  #: all that is left of it is here
    LOST = "lost"  #: its launcher was killed, and nothing of it lives
    UNKNOWN = "unknown"  #: its hosts were not asked


class Place(StrEnum):
    """How a task is."""

    UP = "up"
    CREATED = "created"
    ENDED = "ended"
    MISSING = "missing"


class TaskSeen(NamedTuple):
    """A task's latest attempt.

    attempt: 0 where there is none.
    code: its exit code, -N for signal N; None where it has not ended, or nobody knows.
    """

    task: TaskId
    role: str = ""
    host: str = ""
    attempt: int = 0
    place: Place = Place.MISSING
    code: int | None = None


class Overview(NamedTuple):
    """A run at a glance.

    since: when it began, a Unix time.
    supervisor: who supervises it on this machine; empty where nobody here does.
    outcome: how it ended; empty where that is not known here.
    """

    run: str
    job: str
    strategy: str
    state: State
    tasks: tuple[TaskSeen, ...]
    since: float
    supervisor: str = ""
    outcome: str = ""

    def at(self, place: Place) -> tuple[TaskId, ...]:
        """Return the tasks that are so."""
        return tuple(seen.task for seen in self.tasks if seen.place is place)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts on which something of it was seen."""
        return tuple(dict.fromkeys(seen.host for seen in self.tasks if seen.host))

    @property
    def attempts(self) -> int:
        """How often the task that was started most often was started."""
        return max((seen.attempt for seen in self.tasks), default=0)


class Known(NamedTuple):
    """What this machine knows of a run beside its containers.

    supervisor: who supervises it here; empty where nobody does.
    is_home: whether it has ended and everything of it is home.
    """

    supervisor: str = ""
    outcome: str = ""
    is_home: bool = False


def of_containers(
    containers: Sequence[Found], known: Known, now: float, *, all_answered: bool
) -> Overview:
    """Return a run whose containers are these, at least one.

    now: the present Unix time.
    all_answered: whether every host was asked and did answer.
    """
    latest = {one.task: one for one in sorted(containers, key=lambda one: one.attempt)}
    wanted = {task for one in containers for task in one.tasks} | latest.keys()
    newest = max(containers, key=lambda one: one.created)
    return Overview(
        run=newest.run,
        job=newest.job,
        strategy=newest.strategy,
        state=_state(latest, wanted, known, now - newest.created, all_answered=all_answered),
        tasks=tuple(_seen(task, latest.get(task)) for task in sorted_tasks(wanted)),
        since=min(one.created for one in containers),
        supervisor=known.supervisor,
        outcome=known.outcome,
    )


def _seen(task: TaskId, one: Found | None) -> TaskSeen:
    if one is None:
        return TaskSeen(task)
    place = Place.UP if one.lives else Place.CREATED if one.state == "created" else Place.ENDED
    return TaskSeen(task, one.role, one.host, one.attempt, place, one.code)


def _state(
    latest: Mapping[TaskId, Found],
    wanted: Collection[TaskId],
    known: Known,
    age_s: float,
    *,
    all_answered: bool,
) -> State:
    seen = latest.values()
    is_whole = len(latest) == len(wanted)
    if any(one.lives for one in seen):
        if any(one.has_ended and one.code != 0 for one in seen):
            return State.PARTLY_LOST
        if is_whole and not any(one.state == "created" for one in seen):
            return State.RUNNING
        if not all_answered and not is_whole:
            return State.PARTLY_SEEN
        return State.STARTING if age_s < STARTS_S or known.supervisor else State.PARTLY_LOST
    if not any(one.has_ended for one in seen):
        young = age_s < STARTS_S or known.supervisor
        return State.STARTING if young else State.NEVER_STARTED
    if known.supervisor:
        return State.PAUSING
    if known.is_home:
        return State.KEPT
    return State.ENDED if all_answered or is_whole else State.PARTLY_SEEN


def sorted_tasks(tasks: Iterable[TaskId]) -> list[TaskId]:
    """Return tasks in the order in which we list them: chief, worker, ps, evaluator."""
    return sorted(tasks, key=position)


def position(task: TaskId) -> tuple[int, int]:
    """Return what sorts a task among others."""
    return _ORDER.index(task.type), task.index


def spans(tasks: Sequence[TaskId]) -> str:
    """Return tasks in few words: `chief:0 worker:0-2,5`."""
    parts = []
    for task_type, group in groupby(tasks, key=lambda task: task.type):
        runs: list[list[int]] = []
        for task in group:
            if runs and task.index == runs[-1][1] + 1:
                runs[-1][1] = task.index
            else:
                runs.append([task.index, task.index])
        texts = (str(a) if a == b else f"{a}-{b}" for a, b in runs)
        parts.append(f"{task_type.value}:{','.join(texts)}")
    return " ".join(parts)
