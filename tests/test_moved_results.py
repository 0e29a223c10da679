"""Where the results of a task that has moved come home to: no attempt's replace another's."""

import json
from pathlib import Path
from typing import Any

from launcher.results import Collecting, Left, Results, reported_attempts
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType

WORKER = TaskId(TaskType.WORKER, 0)


CHECKPOINTS = {"/data/checkpoints": "launch-run-checkpoints"}


def left(task: TaskId, attempt: int, **more: Any) -> Left:
    made = Left(task, attempt, f"id{attempt}", f"name{attempt}", "/data/output", {}, False)
    return made._replace(**more)


def homes(results: Results, *containers: Left) -> dict[str, int]:
    """Return the folders that a host's containers fill, each with the attempt that fills it."""
    found = results._homes(containers)
    return {path.name: one.attempt for path, (one, _) in found.items()}


def test_a_host_that_was_left(tmp_path: Path) -> None:
    """The latest attempt's results have the task's name, wherever it ran; earlier ones a number."""
    results = Results(Collecting("run", tmp_path, False, lambda progress: None))
    there = (left(WORKER, 1), left(WORKER, 2)), (left(WORKER, 3), left(CHIEF, 1))
    results._note_latest(there)
    assert homes(results, *there[0]) == {"worker-0.2": 2}
    assert homes(results, *there[1]) == {"worker-0": 3, "chief-0": 1}


def test_a_host_that_comes_back_after_the_run(tmp_path: Path) -> None:
    """What is collected later is told from the last attempt's by the run's report."""
    tasks = [
        {"task": "worker:0", "attempt": 2, "duration_s": 1.5},
        {"task": "chief:0", "attempt": 4, "duration_s": None},  # it was not started
    ]
    (tmp_path / "report.json").write_text(json.dumps({"tasks": tasks}))
    assert reported_attempts(tmp_path) == {WORKER: 2}
    results = Results(Collecting("run", tmp_path, False, lambda progress: None))
    results._note_latest([(left(WORKER, 1), left(CHIEF, 3))])
    assert homes(results, left(WORKER, 1), left(CHIEF, 3)) == {"worker-0.1": 1, "chief-0": 3}


def test_checkpoints_of_a_chief_that_has_moved(tmp_path: Path) -> None:
    """Its last host's are the run's; neither an earlier host's nor an evaluator's replace them."""
    results = Results(Collecting("run", tmp_path, False, lambda progress: None))
    evaluator = left(EVALUATOR, 1, volumes=CHECKPOINTS, has_copies=True)
    there = (left(CHIEF, 1, volumes=CHECKPOINTS), evaluator), (left(CHIEF, 2, volumes=CHECKPOINTS),)
    results._note_latest(there)
    assert homes(results, *there[0]) == {"chief-0.1": 1, "checkpoints.1": 1, "evaluator-0": 1}
    assert homes(results, *there[1]) == {"chief-0": 2, "checkpoints": 2}


def test_checkpoints_of_a_chief_whose_containers_are_gone(tmp_path: Path) -> None:
    """What an evaluator sees may then be the chief's own; it takes no other's place."""
    results = Results(Collecting("run", tmp_path, False, lambda progress: None))
    evaluator = left(EVALUATOR, 1, volumes=CHECKPOINTS, has_copies=True)
    results._note_latest([(evaluator,)])
    assert homes(results, evaluator) == {"evaluator-0": 1, "checkpoints": 1}
    assert homes(results, evaluator._replace(volumes={})) == {"evaluator-0": 1}  # a shared folder
    (tmp_path / "checkpoints").mkdir()
    assert homes(results, evaluator) == {"evaluator-0": 1, "checkpoints.evaluator-0": 1}
    earlier = left(CHIEF, 1, volumes=CHECKPOINTS)
    (tmp_path / "report.json").write_text(
        json.dumps({"tasks": [{"task": "chief:0", "attempt": 2, "duration_s": 1.0}]})
    )
    results._note_latest([(evaluator, earlier)])
    assert homes(results, evaluator, earlier) == {
        "evaluator-0": 1, "chief-0.1": 1, "checkpoints.1": 1,
    }  # fmt: skip
