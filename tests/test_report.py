"""How a run's end is told, to people and to programs."""

import json
from pathlib import Path

from launcher import config, lifecycle, report
from launcher.backends import Homecoming
from launcher.events import Event, Exited, Started, StartFailed, StopAsked, Tick
from launcher.layout import Job
from launcher.observed import Observed
from launcher.placement import HostFacts
from launcher.plan import Plan, plan
from launcher.run import Outcome, Run
from launcher.supervisor import Result
from launcher.task import CHIEF, EVALUATOR, TaskId
from launcher.telling import exit_words

WORKER = TaskId.parse("worker:0")
TEXT = "tasks: {chief: {}, worker: {}, evaluator: {}}"
STARTED = (Started(0.0, CHIEF, 1), Started(0.0, WORKER, 1), Started(0.0, EVALUATOR, 1))

NO_RESULTS = Homecoming()


def result(
    folder: Path, *events: Event, observed: Observed | None = None, home: Homecoming = NO_RESULTS
) -> Result:
    """Return the result of a run in which `events` happened."""
    (folder / "logs").mkdir(exist_ok=True)
    facts = {"localhost": HostFacts((21000, 21001, 21002))}
    job = Job("job", None, ("true",), str(folder))
    made: Plan = plan(config.parse(TEXT), job, "run-1", facts, run_dir=str(folder), python="python")
    run: Run
    run, _ = lifecycle.begin(tuple(c.task for c in made.tasks), made.strategy, made.timeouts, 0.0)
    for event in events:
        run, _ = lifecycle.step(run, event)
    return Result(made, run, observed or Observed(), 0.0, 12.34, home)


def test_success(tmp_path: Path) -> None:
    """A success shows each task's state, duration and exit, the result, and where things are."""
    observed = Observed()
    observed.note({"kind": "metrics", "step": 7, "split": "eval", "final": True, "loss": 0.25})
    observed.note({"kind": "model", "path": "/out/model.keras"})
    ended = result(
        tmp_path,
        *STARTED,
        Exited(10.0, CHIEF, 1, 0),
        Exited(11.25, WORKER, 1, 0),
        Tick(41.25),
        Exited(42.0, EVALUATOR, 1, -15),
        observed=observed,
    )
    assert (
        report.to_text(ended)
        == f"""
run-1: succeeded after 12.3 s

task         state      duration  exit
chief:0      succeeded  10.0 s    0
worker:0     succeeded  11.2 s    0
evaluator:0  stopped    42.0 s    SIGTERM

result  step=7 loss=0.2500
model   /out/model.keras
logs    {tmp_path}/logs"""
    )


def test_failure(tmp_path: Path) -> None:
    """A failure names the first that failed with its last lines, and nobody else."""
    (tmp_path / "logs").mkdir()
    for task in (CHIEF, WORKER):
        (tmp_path / f"logs/{task.slug}.1.log").write_text(f"line of {task}\n" * 30)
    ended = result(
        tmp_path,
        *STARTED,
        Exited(3.0, WORKER, 1, -11),
        Exited(3.5, CHIEF, 1, 1),
        Exited(3.5, EVALUATOR, 1, 0),
    )
    text = report.to_text(ended)
    assert "worker:0 failed first: killed by SIGSEGV\nits last lines:\n" in text
    assert text.count("  line of worker:0") == 20
    assert "line of chief:0" not in text
    assert "chief:0      consequence  3.5 s     1" in text
    value = report.to_dict(ended)
    assert value["first_failure"] == "worker:0"
    assert value["last_lines"] == 20 * ["line of worker:0"]


def test_json_says_the_same(tmp_path: Path) -> None:
    """The JSON holds every task's state, attempt, code, duration and log."""
    ended = result(
        tmp_path, *STARTED[:2], StartFailed(0.0, EVALUATOR, 1, "no disk"),
        StopAsked(1.0, Outcome.INTERRUPTED), Exited(2.0, CHIEF, 1, -15), Exited(2.0, WORKER, 1, -9),
    )  # fmt: skip
    value = json.loads(json.dumps(report.to_dict(ended)))
    assert value["run"] == "run-1"
    assert value["duration_s"] == 12.34
    tasks = {task["task"]: task for task in value["tasks"]}
    assert tasks["worker:0"] == {
        "task": "worker:0",
        "role": "train",
        "state": "stopped",
        "attempt": 1,
        "exit_code": -9,
        "reason": None,
        "duration_s": 2.0,
        "log": f"{tmp_path}/logs/worker-0.1.log",
    }
    assert tasks["evaluator:0"]["state"] == "not started"
    assert tasks["evaluator:0"]["reason"] == "no disk"


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    """A loss that is no number is a text in JSON, wherever it stands."""
    observed = Observed()
    inf = float("inf")
    observed.note({"kind": "metrics", "loss": float("nan"), "more": [inf, {"x": -inf}, 1.5]})
    value = report.to_dict(result(tmp_path, observed=observed))
    assert value["metrics"] == {"loss": "nan", "more": ["inf", {"x": "-inf"}, 1.5]}
    json.dumps(value, allow_nan=False)


def test_what_tasks_say_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    """Escapes in what a task reports of itself are not shown."""
    observed = Observed()
    observed.note({"kind": "model", "path": "/a\x1b[2J\nb"})
    observed.note({"kind": "metrics", "\x1b]0;x\x07loss": "\x1b[31m1"})
    text = report.to_text(result(tmp_path, observed=observed))
    assert "\x1b" not in text
    assert "model   /a b\n" in text
    assert "result  loss=1" in text


def test_final_metrics_stay() -> None:
    """Final metrics are not replaced by those of a step that is told later."""
    observed = Observed()
    for fields in (
        {"kind": "metrics", "step": 5, "loss": 2.0},
        {"kind": "metrics", "step": 9, "loss": 1.0, "final": True},
        {"kind": "metrics", "step": 6, "loss": 3.0},
    ):
        observed.note(fields)
    assert observed.metrics["loss"] == 1.0
    assert observed.step == 9


def test_exit_words() -> None:
    """Exits are told in words, signals by name."""
    told = [exit_words(code) for code in (None, 0, 3, -9, -64, -99)]
    assert told[:4] == ["did not end", "exit code 0", "exit code 3", "killed by SIGKILL"]
    assert told[5] == "killed by signal 99"
