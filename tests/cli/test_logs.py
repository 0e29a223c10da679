"""`launch logs` of runs on this machine: which run is meant, and what is shown of it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from launcher.supervision import hold
from tests.conftest import DEADLINE_S, Launching, until

PLAN = {"backend": "process", "tasks": [{"task": "chief:0"}, {"task": "worker:0"}]}


def folder(launching: Launching, name: str, logs: dict[str, str], **plan: object) -> Path:
    """Write a run's folder with these logs, as a launcher leaves it."""
    launching.write(f"runs/{name}/plan.json", json.dumps({**PLAN, "run": name, **plan}))
    launching.write(f"runs/{name}/report.json", json.dumps({"outcome": "failed"}))
    for log, text in logs.items():
        launching.write(f"runs/{name}/logs/{log}.log", text)
    return launching.folder / "runs" / name


LOGS = {"worker-0.2": "w2\n", "worker-0.1": "w1", "chief-0.1": "c1\nc2\n", "worker-0.10": "w10\n"}


def test_all_attempts_in_order(launching: Launching) -> None:
    """Each attempt of each task is shown whole, in order, and announced on standard error."""
    folder(launching, "r", LOGS)
    done = launching.run("logs", "r")
    assert done.code == 0
    assert done.out == (
        "chief:0  | c1\nchief:0  | c2\nworker:0 | w1\nworker:0 | w2\nworker:0 | w10\n"
    )
    assert done.err.splitlines() == [
        "launch: chief:0, attempt 1",
        "launch: worker:0, attempt 1",
        "launch: worker:0, attempt 2",
        "launch: worker:0, attempt 10",
    ]


@pytest.mark.parametrize("task", ["worker:0", "worker-0"])
def test_one_task(launching: Launching, task: str) -> None:
    """One task's lines stand without its name."""
    folder(launching, "r", LOGS)
    assert launching.run("logs", "r", task).out == "w1\nw2\nw10\n"


def test_as_json(launching: Launching) -> None:
    """Each line is an object, whatever bytes it holds."""
    run = folder(launching, "r", {"worker-0.1": 'a "quoted"\n\n'})
    (run / "logs/worker-0.2.log").write_bytes(b"\xff\xfe\n")
    lines = [json.loads(line) for line in launching.run("logs", "--json", "r").out.splitlines()]
    assert [(each["attempt"], each["line"]) for each in lines] == [
        (1, 'a "quoted"'),
        (1, ""),
        (2, "\ufffd\ufffd"),
    ]
    assert {(each["task"], each["host"]) for each in lines} == {("worker:0", None)}


def test_what_is_not_shown(launching: Launching) -> None:
    """Marker lines and what would act on a terminal are left out."""
    from launcher import markers

    text = f'{markers.PREFIX}{{"kind": "ready"}}\nplain\n\x1b[31mred\x1b[0m\n'
    folder(launching, "r", {"worker-0.1": text})
    assert launching.run("logs", "r", "worker:0").out == "plain\nred\n"


def test_which_run(launching: Launching) -> None:
    """A run is named by its name, by what only its name begins with, by its folder, or `last`."""
    for age, name in enumerate(["a-1", "a-10", "b-2"]):
        run = folder(launching, name, {"worker-0.1": f"{name}\n"})
        os.utime(run / "plan.json", (1000 - age, 1000 - age))
    for word, name in [("a-1", "a-1"), ("a-10", "a-10"), ("b", "b-2"), ("last", "a-1"),
                       (str(launching.folder / "runs/b-2"), "b-2")]:  # fmt: skip
        assert launching.run("logs", word, "worker:0").out == f"{name}\n", word
    done = launching.run("logs", "a")
    said = "launch: a: expected one run, these begin so: a-1, a-10\n"
    assert (done.code, done.err) == (2, said)
    done = launching.run("logs", "c")
    assert done.code == 2 and "c: no such run here" in done.err and "launch ps" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker:7"], "worker:7: no such task in this run; expected one of chief:0, worker:0"),
        (["boss"], "boss: expected a task such as worker:0"),
        (["--stderr"], "--stderr: a process writes both streams into one log"),
    ],
)
def test_what_there_is_not(launching: Launching, words: list[str], said: str) -> None:
    """A task that the run has not, and streams that are not apart, are refused in words."""
    folder(launching, "r", LOGS)
    done = launching.run("logs", "r", *words)
    assert done.code == 2 and said in done.err


def test_standard_error_alone(launching: Launching) -> None:
    """Of containers that are home, `--stderr` shows what came on standard error."""
    logs = {"worker-0.1": "out\nerr\n", "worker-0.1.stderr": "err\n"}
    folder(launching, "r", logs, backend="docker")
    assert launching.run("logs", "--stderr", "r", "worker:0").out == "err\n"
    assert launching.run("logs", "r", "worker:0").out == "out\nerr\n"


def _reads(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline() for _ in range(count)]


def test_followed_until_the_run_has_ended(launching: Launching) -> None:
    """`-f` shows lines and attempts as they come, and ends with the run."""
    run = folder(launching, "r", {"worker-0.1": "one\n"})
    (run / "report.json").unlink()
    with hold(run):
        process = launching.start("logs", "-f", "last")
        assert _reads(process, 1) == ["worker:0 | one\n"]
        with (run / "logs/worker-0.1.log").open("a") as log:
            log.write("two\nthree")
        assert _reads(process, 1) == ["worker:0 | two\n"]
        (run / "logs/worker-0.2.log").write_text("four\n")
        assert _reads(process, 2) == ["worker:0 | three\n", "worker:0 | four\n"]
        assert process.poll() is None
        (run / "logs/worker-0.2.log").write_text("four\nlast")
        (run / "report.json").write_text("{}")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (0, "worker:0 | last\n")
    assert err.splitlines() == ["launch: worker:0, attempt 1", "launch: worker:0, attempt 2"]


def test_followed_without_a_launcher(launching: Launching) -> None:
    """The processes of a killed launcher are followed until the last has ended."""
    launching.cluster("tasks: {worker: {}}\n")
    script = "echo up; until test -e go; do sleep 0.05; done; echo down"
    launcher = launching.start("--", "sh", "-c", script)
    until(lambda: launching.log("worker-0") == b"up\n", "the task")
    launcher.kill()
    launcher.communicate()
    process = launching.start("logs", "-f", "last", "worker:0")
    assert _reads(process, 1) == ["up\n"]
    launching.write("go", "")
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (0, "down\n")


def test_following_can_be_left(launching: Launching) -> None:
    """^C ends the following at once, and a reader that has gone ends it too."""
    run = folder(launching, "r", {"worker-0.1": "one\n"})
    with hold(run):
        process = launching.start("logs", "-f", "r")
        assert _reads(process, 1) == ["worker:0 | one\n"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == -signal.SIGINT
        process = launching.start("logs", "-f", "r")
        assert _reads(process, 1) == ["worker:0 | one\n"]
        assert process.stdout
        process.stdout.close()
        with (run / "logs/worker-0.1.log").open("a") as log:
            log.write("two\n")
        assert process.wait(DEADLINE_S) == 0
