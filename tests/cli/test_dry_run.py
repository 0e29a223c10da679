"""`launch --dry-run`: the very plan that would run, and nothing started or made."""

import json

import pytest

from tests.conftest import Launching


def test_table(launching: Launching) -> None:
    """The plan shows every task with its role, place, command, TF_CONFIG and paths."""
    launching.cluster(
        "tasks: {chief: {}, worker: {port: 2222}, ps: {}, evaluator: {}}\nenv: {API_KEY: tell}\n"
    )
    done = launching.run("--dry-run", "--", "python3", "a b.py", "it's")
    assert done.code == 0, done.err
    assert "parameter_server" in done.out
    for words in (["chief:0", "coordinate"], ["worker:0", "serve"], ["evaluator:0", "evaluate"]):
        assert any(line.split()[:2] == words for line in done.out.splitlines())
    assert "127.0.0.1:2222" in done.out
    assert """command    python3 'a b.py' 'it'"'"'s'""" in done.out
    assert '"task": {"type": "ps", "index": 0}' in done.out
    assert "API_KEY=********" in done.out
    assert "tell" not in done.out
    assert not (launching.folder / "runs").exists()


def test_it_is_the_plan_that_runs(launching: Launching) -> None:
    """A dry run prints what a run performs; only run id and free ports are found anew."""
    launching.cluster("tasks: {chief: {port: 29871}, worker: {port: 29872}}\n")
    words = ("--", "sh", "-c", "echo $TF_CONFIG")
    dry = launching.run("--dry-run", "--json", *words).out
    assert launching.run(*words).code == 0
    done = (launching.run_dir() / "plan.json").read_text()
    planned, ran = json.loads(dry), json.loads(done)
    assert json.loads(dry.replace(planned["run"], ran["run"])) == ran
    for task in ran["tasks"]:
        tf_config = task["env"]["TF_CONFIG"]
        assert launching.log(task["task"].replace(":", "-")).decode().strip() == tf_config


def test_single(launching: Launching) -> None:
    """A single task has no TF_CONFIG and no address."""
    done = launching.run("--single", "--dry-run", "--json", "--", "true")
    plan = json.loads(done.out)
    (task,) = plan["tasks"]
    assert plan["strategy"] is None
    assert "TF_CONFIG" not in task["env"]
    assert task["argv"] == ["true"]


def test_single_runs_mnist_single(launching: Launching) -> None:
    """`launch --single` without a trainer means mnist_single."""
    done = launching.run("--single", "--dry-run", "--json")
    assert json.loads(done.out)["job"] == "mnist_single"


@pytest.mark.parametrize("strategy", ["parameter_server", "multi_worker_mirrored"])
def test_strategy_over_the_files(launching: Launching, strategy: str) -> None:
    """--strategy wins over the file's; in an old-form cluster idle ps tasks are left out."""
    launching.cluster(
        'cluster: {master: ["127.0.0.1:2222"], ps: ["127.0.0.1:2223"], '
        'worker: ["127.0.0.1:2224"]}\n'
    )
    done = launching.run("--strategy", strategy, "--dry-run", "--json", "--", "true")
    plan = json.loads(done.out)
    tasks = [task["task"] for task in plan["tasks"]]
    assert plan["strategy"] == strategy
    assert ("ps:0" in tasks) == (strategy == "parameter_server")
    assert any("master" in note for note in plan["notes"])


def test_a_dry_run_is_light() -> None:
    """Planning imports none of what costs a start: the budget is four bare interpreters."""
    import subprocess
    import sys

    heavy = ("argparse", "dataclasses", "inspect", "pathlib", "socket", "subprocess", "threading")
    program = (
        "import sys; from launcher.cli import main; main(['--dry-run', '--', 'true']);"
        f"print(*sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    # -S: the site's own .pth files may import what they like.
    code = f"import sys; sys.path[:] = {sys.path!r}; {program}"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert "chief:0" in done.stdout, done.stderr
    assert done.stderr.strip() == ""
