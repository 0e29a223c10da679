"""How a run's end is told, to people and to programs."""

import json
from collections.abc import Mapping
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
FACTS = {"localhost": HostFacts((21000, 21001, 21002))}


def result(
    folder: Path,
    *events: Event,
    observed: Observed | None = None,
    home: Homecoming = NO_RESULTS,
    text: str = TEXT,
    facts: Mapping[str, HostFacts] = FACTS,
) -> Result:
    """Return the result of a run in which `events` happened."""
    (folder / "logs").mkdir(exist_ok=True)
    job = Job("job", None, ("true",), str(folder))
    made: Plan = plan(config.parse(text), job, "run-1", facts, run_dir=str(folder), python="python")
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
    assert "\nwhen: 3.0 s after the run began\nchief:0: exit code 1, 0.5 s later\n" in text
    value = report.to_dict(ended)
    assert value["first_failure"] == "worker:0"
    assert (value["cause"], value["words"]) == ("signal", "killed by SIGSEGV")
    assert value["last_lines"] == 20 * ["line of worker:0"]


def test_the_first_cause_may_end_last(tmp_path: Path) -> None:
    """Who only lost its peer is not blamed, though it ended first; each failure has its cause."""
    (tmp_path / "logs").mkdir()
    lost = "error: another task of the cluster was lost: Socket closed\n"
    (tmp_path / "logs/chief-0.1.log").write_text(lost)
    missing = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n"
    (tmp_path / "logs/worker-0.1.log").write_text(missing)
    ended = result(
        tmp_path, *STARTED, Exited(3.0, CHIEF, 1, 1), Exited(3.4, WORKER, 1, 1),
        Exited(3.5, EVALUATOR, 1, -15),
    )  # fmt: skip
    text = report.to_text(ended)
    words = "a Python module cannot be imported: No module named 'x' (exit code 1)"
    assert f"worker:0 failed first: {words}\nits last lines:\n" in text
    assert "when: 3.4 s after the run began\nremedy: install it" in text
    assert "\nchief:0: lost its peer (exit code 1), 0.4 s earlier\n" in text
    assert "worker:0     failed " in text and "chief:0      consequence" in text
    assert "evaluator:0 failed" not in text
    value = report.to_dict(ended)
    assert (value["first_failure"], value["cause"]) == ("worker:0", "import error")
    tasks = value["tasks"]
    assert isinstance(tasks, list)
    assert [(task["state"], task["cause"]) for task in tasks] == [
        ("consequence", "peer lost"),
        ("failed", "import error"),
        ("consequence", None),
    ]


def test_what_we_ended_is_not_blamed(tmp_path: Path) -> None:
    """A peer that was killed because another had failed is no failure of its own."""
    ended = result(
        tmp_path, *STARTED, Exited(3.0, WORKER, 1, -9), Tick(4.5),
        Exited(4.6, CHIEF, 1, -9), Exited(4.6, EVALUATOR, 1, 0),
    )  # fmt: skip
    text = report.to_text(ended)
    assert "worker:0 failed first: killed by SIGKILL" in text
    assert "\nchief:0: " not in text


def test_hosts_are_named_where_there_are_several(tmp_path: Path) -> None:
    """On several hosts the blamed task is named with its own; many followers are cut short."""
    hosts = "{h1: {address: 10.0.0.1, ssh: {}}, h2: {address: 10.0.0.2, ssh: {}}}"
    text = f"image: x\nhosts: {hosts}\n"
    text += "tasks: {chief: {host: h1}, worker: {count: 12, host: h2}, evaluator: {host: h1}}"
    facts = {name: HostFacts(tuple(range(21000, 21020))) for name in ("h1", "h2")}
    workers = [TaskId.parse(f"worker:{n}") for n in range(12)]
    ended = result(
        tmp_path, *(Started(0.0, task, 1) for task in (CHIEF, *workers, EVALUATOR)),
        *(Exited(3.0 + n, worker, 1, 7) for n, worker in enumerate(workers)),
        Exited(20.0, CHIEF, 1, 0), Exited(20.0, EVALUATOR, 1, 0), text=text, facts=facts,
    )  # fmt: skip
    told = report.to_text(ended)
    assert "worker:0 on h2 failed first: exit code 7\n" in told
    assert "worker:10 on h2: exit code 7, 10.0 s later\nand 1 more\n" in told


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
        "cause": None,
        "words": None,
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
