"""What state a run is in, from what its containers and this machine's files say."""

import pytest

from launcher.found import Found, ended_with, of_listed
from launcher.overview import Known, Place, State, of_containers, spans
from launcher.task import TaskId, TaskType

NOW = 1_000_000.0
CHIEF = TaskId(TaskType.CHIEF, 0)
W0, W1, W2 = (TaskId(TaskType.WORKER, index) for index in range(3))
ALL = (W0, W1, W2)
HERE = Known(supervisor="process 1 on lab")
HOME = Known(outcome="succeeded", is_home=True)


def one(
    task: TaskId,
    state: str = "running",
    code: int | None = None,
    *,
    attempt: int = 1,
    age_s: float = 3600,
    tasks: tuple[TaskId, ...] = ALL,
) -> Found:
    return Found(
        run="r", task=task, attempt=attempt, host=f"h{task.index}", id="i", name="n",
        state=state, code=code, created=NOW - age_s, tasks=tasks,
    )  # fmt: skip


UP = [one(W0), one(W1), one(W2)]
OK = [one(task, "exited", 0) for task in ALL]
BAD = [one(W0, "exited", 1), one(W1, "exited", -9), one(W2, "exited", -9)]


@pytest.mark.parametrize(
    ("containers", "known", "all_answered", "state"),
    [
        (UP, Known(), True, State.RUNNING),
        ([one(W0), one(W1), one(W2, "exited", 0)], Known(), True, State.RUNNING),
        ([one(W0), one(W1), one(W2, "paused")], Known(), True, State.RUNNING),
        ([one(W0), one(W1), one(W2, "exited", 1)], Known(), True, State.PARTLY_LOST),
        ([one(W0), one(W1)], Known(), True, State.PARTLY_LOST),
        ([one(W0), one(W1)], HERE, True, State.STARTING),
        ([one(W0), one(W1, age_s=9)], Known(), True, State.STARTING),
        ([one(W0), one(W1)], Known(), False, State.PARTLY_SEEN),
        ([one(W0), one(W1, "exited", 1)], Known(), False, State.PARTLY_LOST),
        ([one(W0), one(W1), one(W2, "created")], Known(), True, State.PARTLY_LOST),
        ([one(W0, age_s=9), one(W1), one(W2, "created")], Known(), True, State.STARTING),
        ([one(W0, "created", age_s=9)], Known(), True, State.STARTING),
        ([one(W0, "created")], Known(), True, State.NEVER_STARTED),
        ([one(W0, "created")], HERE, True, State.STARTING),
        (OK, Known(), True, State.ENDED),
        (OK, HOME, True, State.KEPT),
        (OK, Known(), False, State.ENDED),
        (BAD, HERE, True, State.PAUSING),
        (BAD, Known(), True, State.ENDED),
        ([one(W0, "exited", 0)], Known(), False, State.PARTLY_SEEN),
        ([*BAD, *(one(task, attempt=2, age_s=3) for task in ALL)], Known(), True, State.RUNNING),
        ([one(W0, tasks=())], Known(), True, State.RUNNING),  # of a launcher without that label
    ],
)
def test_states(containers: list[Found], known: Known, all_answered: bool, state: State) -> None:
    """Each state is what its name says, whoever made the containers."""
    assert of_containers(containers, known, NOW, all_answered=all_answered).state is state


def test_latest_attempts_count() -> None:
    """A task is as its last attempt is; the run began with its first container."""
    again = [one(task, attempt=2, age_s=60) for task in (W1, W0)]
    run = of_containers([*again, *BAD], Known(), NOW, all_answered=True)
    assert run.at(Place.UP) == (W0, W1) and run.at(Place.ENDED) == (W2,)
    assert (run.attempts, run.since, run.hosts) == (2, NOW - 3600, ("h0", "h1", "h2"))


def test_the_missing_are_named() -> None:
    """A task without a container is among the tasks all the same."""
    run = of_containers([one(W1, tasks=(CHIEF, *ALL))], Known(), NOW, all_answered=True)
    assert run.at(Place.MISSING) == (CHIEF, W0, W2)
    assert spans(run.at(Place.MISSING)) == "chief:0 worker:0,2"


@pytest.mark.parametrize(
    ("indices", "text"),
    [([], ""), ([3], "worker:3"), ([0, 1, 2, 5, 7, 8], "worker:0-2,5,7-8")],
)
def test_spans(indices: list[int], text: str) -> None:
    """Tasks in a row are one word."""
    assert spans([TaskId(TaskType.WORKER, index) for index in indices]) == text


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        ("Exited (0) 5 seconds ago", 0, "0"),
        ("Exited (1) About an hour ago", 1, "1"),
        ("Exited (137) 2 days ago", -9, "SIGKILL"),
        ("Exited (128) 2 days ago", 128, "128"),
        ("Exited (255) 2 days ago", 255, "255"),
        ("Up 3 minutes", None, ""),
        ("Created", None, ""),
    ],
)
def test_exit_codes_in_dockers_words(status: str, code: int | None, shown: str) -> None:
    """How a container ended is read from the engine's list."""
    labels = {"launch.run": "r", "launch.task": "ps:0", "launch.attempt": "2"}
    listed = {"Id": "i", "Names": ["/n"], "State": "exited", "Status": status, "Created": 5}
    found = of_listed("h1", {**listed, "Labels": labels})
    assert found and found.code == code and (found.attempt, found.name) == (2, "n")
    assert code is None or ended_with(code) == shown


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {"launch.run": "r"},
        {"launch.run": "r", "launch.task": "boss:0", "launch.attempt": "1"},
        {"launch.run": "r", "launch.task": "worker:0", "launch.attempt": "x"},
    ],
)
def test_what_is_no_task(labels: dict[str, str] | None) -> None:
    """A container whose labels do not name a task is passed over."""
    assert of_listed("h1", {"Id": "i", "Labels": labels}) is None
