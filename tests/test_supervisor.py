"""Runs of real processes: how they end, what is said of it, and that no task is left behind."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import DEADLINE_S, TWO_TASKS, Launching, until

PARAMETER_SERVER = (
    "tasks: {chief: {}, worker: {count: 2}, ps: {}}\ntimeouts: {grace_s: 5}\n"
)  # fmt: skip
# What each task does, chosen by its type: sh knows no JSON, but TF_CONFIG is ours.
BY_TASK = 'case "$TF_CONFIG" in *\'"type": "%s"\'*) %s;; esac; '
UP = "echo up; "
DEAF = "trap '' TERM INT HUP; "
FOREVER = "while :; do sleep 0.05; done"


def sh(*parts: str) -> tuple[str, ...]:
    """Return the words that make every task run a shell script."""
    return "--", "sh", "-c", "".join(parts)


def of(task_type: str, script: str) -> str:
    """Return shell text that only tasks of this type execute."""
    return BY_TASK % (task_type, script)


def states(launching: Launching) -> dict[str, str]:
    return {task["task"]: task["state"] for task in launching.report()["tasks"]}


def both_up(launching: Launching) -> None:
    for task in ("chief-0", "worker-0"):
        until(lambda t=task: b"up" in launching.log(t), f"{task}'s first words")  # type: ignore[misc]


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def test_success(launching: Launching) -> None:
    """When every task ends with 0 the run does, and its directory tells the whole story."""
    launching.cluster()
    done = launching.run(*sh("echo hello; echo there >&2"))
    assert done.code == 0
    assert "succeeded" in done.out
    for task in ("chief:0 ", "worker:0"):
        assert f"{task} | hello\n" in done.out
        assert f"{task} | there\n" in done.out
    assert launching.log("chief-0") == b"hello\nthere\n"
    report = launching.report()
    assert report["outcome"] == "succeeded"
    assert report["first_failure"] is None
    assert [task["exit_code"] for task in report["tasks"]] == [0, 0]
    plan = json.loads((launching.run_dir() / "plan.json").read_text())
    assert [task["task"] for task in plan["tasks"]] == ["chief:0", "worker:0"]
    whats = [event["what"] for event in launching.events()]
    assert sorted(whats) == sorted(2 * ["Start", "Started", "Exited"])
    assert not launching.living()


def test_the_first_failure_is_named(launching: Launching) -> None:
    """The run fails with the first task that does, the others are its consequences."""
    launching.cluster()
    done = launching.run(
        *sh(of("worker", "echo the cause; exit 7"), "trap 'exit 9' TERM; ", FOREVER)
    )
    assert done.code == 1
    assert "worker:0 failed first: exit code 7\nits last lines:\n  the cause\n" in done.out
    report = launching.report()
    assert report["first_failure"] == "worker:0"
    assert report["last_lines"] == ["the cause"]
    assert states(launching) == {"chief:0": "consequence", "worker:0": "failed"}
    assert not launching.living()


def test_deaf_survivors_are_killed_after_a_second(launching: Launching) -> None:
    """Under multi_worker_mirrored, peers of a failed task that ignore SIGTERM get one second."""
    launching.cluster("tasks: {chief: {}, worker: {}}\ntimeouts: {grace_s: 60}\n")
    died = "while ! grep -q up ../*chief-0.1.log ; do sleep 0.02; done; exit 1"
    died = died.replace("../", "runs/*/logs/")
    done = launching.run(*sh(of("worker", died), DEAF, UP, FOREVER))
    assert done.code == 1
    assert 0.9 < launching.report()["duration_s"] < 5
    assert launching.report()["tasks"][0]["exit_code"] == -signal.SIGKILL


def test_parameter_servers_are_stopped(launching: Launching) -> None:
    """Workers and ps, which never end, are stopped when the chief has ended: a success."""
    launching.cluster(PARAMETER_SERVER)
    done = launching.run(*sh(of("chief", "exit 0"), "exec sleep 1000"))
    assert done.code == 0, done.out
    assert set(states(launching).values()) == {"succeeded", "stopped"}
    assert not launching.living()


def test_the_evaluator_fails_alone(launching: Launching) -> None:
    """An evaluator that fails does not fail the run; the report says so all the same."""
    launching.cluster("tasks: {chief: {}, worker: {}, evaluator: {}}")
    wait = "while ! grep -q Exited runs/*/events.jsonl; do sleep 0.02; done; exit 0"
    done = launching.run(*sh(of("evaluator", "echo oh no; exit 5"), wait))
    assert done.code == 0, done.out
    assert "evaluator:0 failed; the run went on without: exit code 5" in done.out
    assert states(launching)["evaluator:0"] == "failed"


def test_out_of_time(launching: Launching) -> None:
    """A run that passes timeouts.run_s is stopped and ends with 124."""
    launching.cluster("tasks: {chief: {}, worker: {}}\ntimeouts: {run_s: 0.5, grace_s: 5}\n")
    done = launching.run(*sh("exec sleep 1000"))
    assert done.code == 124
    assert "timeouts.run_s (0.5 s) was over" in done.out
    assert launching.report()["outcome"] == "timed out"
    assert not launching.living()


def test_a_silent_task_that_writes_event_files_goes_on(launching: Launching) -> None:
    """Where tasks print nothing, TensorBoard's event files that grow are signs of life."""
    launching.cluster("tasks: {chief: {}}\ntimeouts: {stalled_s: 0.5}\n")
    logs = "d=$(echo $PWD/runs/*/output/chief-0)/logs/train; mkdir -p $d; "
    grows = "for i in 1 2 3 4 5 6 7 8; do echo $i >>$d/events.out.tfevents.1.h; sleep 0.2; done"
    done = launching.run(*sh(logs, grows))
    assert done.code == 0, done.out
    assert "no progress" not in done.out
    assert "LookForLife" in [event["what"] for event in launching.events()]


def test_limits_beyond_any_clock(launching: Launching) -> None:
    """A limit longer than a clock can count is no limit, and no error."""
    launching.cluster("tasks: {chief: {}}\ntimeouts: {run_s: 1.0e+300, grace_s: 1.0e+300}\n")
    assert launching.run(*sh("exit 0")).code == 0


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
)
def test_the_first_signal_is_gentle(launching: Launching, signum: int, code: int) -> None:
    """^C, SIGTERM and SIGHUP ask every task to end and leave it the time to save."""
    launching.cluster()
    process = launching.start(*sh("trap 'sleep 0.2; echo saved; exit 0' TERM; ", UP, FOREVER))
    both_up(launching)
    process.send_signal(signum)
    ended, out, _ = end(process)
    assert ended == code
    assert "launch: stopping chief:0, worker:0 (up to 5 s" in out
    assert launching.log("chief-0").endswith(b"saved\n")
    assert launching.log("worker-0").endswith(b"saved\n")
    expected = {130: "interrupted", 143: "terminated"}[code]
    assert launching.report()["outcome"] == expected
    assert not launching.living()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_is_not(launching: Launching, signum: int) -> None:
    """The second signal kills at once what ignores the first."""
    launching.cluster("tasks: {chief: {}, worker: {}}\ntimeouts: {grace_s: 600}\n")
    process = launching.start(*sh(DEAF, UP, FOREVER))
    both_up(launching)
    process.send_signal(signum)
    until(lambda: len([e for e in launching.events() if e["what"] == "Stop"]) == 2, "the stop")
    process.send_signal(signum)
    ended, out, _ = end(process)
    assert ended == 128 + signum
    assert "launch: killing chief:0, worker:0" in out
    assert set(states(launching).values()) == {"stopped"}
    assert not launching.living()


def test_the_deaf_are_killed_after_the_grace(launching: Launching) -> None:
    """What ignores SIGTERM is killed once grace_s is over."""
    launching.cluster("tasks: {chief: {}, worker: {}}\ntimeouts: {grace_s: 0.4}\n")
    process = launching.start(*sh(DEAF, UP, FOREVER))
    both_up(launching)
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130
    codes = {task["exit_code"] for task in launching.report()["tasks"]}
    assert codes == {-signal.SIGKILL}
    assert not launching.living()


def test_a_signal_that_does_not_end_our_wait(launching: Launching) -> None:
    """A signal is seen soon, also when it does not wake the thread that waits for events.

    As when it comes in the moment before that thread begins to wait, here it comes to another.
    """
    launching.cluster()
    process = launching.start(*sh(UP, "exec sleep 1000"))
    both_up(launching)
    threads = [int(tid) for tid in os.listdir(f"/proc/{process.pid}/task")]
    other = next(tid for tid in threads if tid != process.pid)
    assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGTERM) == 0
    until(lambda: process.poll() is not None, "the launcher's end", 10)
    assert end(process)[0] == 143


def test_nohup(launching: Launching) -> None:
    """A SIGHUP that was ignored when the launcher was started stays ignored."""
    launching.cluster()
    process = launching.start(
        *sh(UP, "while [ ! -e go ]; do sleep 0.02; done"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    both_up(launching)
    process.send_signal(signal.SIGHUP)
    launching.write("go", "")
    assert end(process)[0] == 0


ANSWER_S = 8  # more than the grace of what it started


def test_interrupted_at_any_moment(launching: Launching) -> None:
    """Wherever in its first moments ^C or SIGTERM meets the launcher, no task is left behind.

    While Python itself starts, it can swallow a ^C; whoever gets no answer presses it again.
    """
    launching.cluster()
    for step in range(20):
        signum = (signal.SIGINT, signal.SIGTERM)[step % 2]
        process = launching.start(*sh("exec sleep 1000"))
        time.sleep(step * 0.012)  # the moment itself is what varies
        process.send_signal(signum)
        try:
            process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signum)
        until(lambda p=process: p.poll() is not None, "the launcher's end")  # type: ignore[misc]
        end(process)
        assert process.returncode != 0  # 1 where Python itself had hardly begun
        assert not launching.living()
    for run in (launching.folder / "runs").glob("*"):
        for file in run.glob("*.json"):
            json.loads(file.read_text())


def test_stopped_twice_while_it_starts(launching: Launching) -> None:
    """Two signals while many tasks are being started end them all at once."""
    launching.cluster("tasks: {worker: {count: 12}}\ntimeouts: {grace_s: 600}\n")
    process = launching.start(*sh(DEAF, FOREVER))
    until(lambda: list(launching.folder.glob("runs/*/logs/*.log")) != [], "the first task")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    until(lambda: process.poll() is not None, "the launcher's end", 10)
    assert end(process)[0] in (130, 143)
    assert not launching.living()


def test_an_impatient_user_keeps_the_report(launching: Launching) -> None:
    """However often ^C is pressed, report.json is written whole."""
    launching.cluster()
    process = launching.start(*sh(UP, "exec sleep 1000"), stdout=subprocess.DEVNULL)
    both_up(launching)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    assert end(process)[0] in (130, -signal.SIGINT)
    assert launching.report()["outcome"] == "interrupted"
    assert not launching.living()


def test_a_reader_that_leaves_early(launching: Launching) -> None:
    """`launch … | head -1` ends the showing, not the run."""
    launching.cluster()
    launching.write("loud.sh", "#!/bin/sh\nseq 100000; echo whole\n")
    process = launching.start("--", "./loud.sh")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 0
    assert process.stderr is not None
    assert "nobody reads standard output any more; the run goes on" in process.stderr.read()
    assert launching.log("worker-0").endswith(b"\nwhole\n")
    assert launching.report()["outcome"] == "succeeded"


def test_a_failure_that_nobody_reads(launching: Launching) -> None:
    """The exit code of a failed run stays its own when nobody reads its report."""
    long = "head -c 30000 /dev/zero | tr '\\0' x; exit 1"
    process = launching.start("--single", "--json", *sh(long))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(DEADLINE_S) == 1
    assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_a_reader_that_does_not_read(launching: Launching) -> None:
    """A reader that holds the pipe without reading does not keep ^C from ending the launcher."""
    reading, writing = os.pipe()
    process = launching.start("--single", *sh("seq 100000"), stdout=writing)
    os.close(writing)
    try:
        until(lambda: launching.log("chief-0").endswith(b"\n100000\n"), "the task's end")
        until(lambda: any(e["what"] == "Exited" for e in launching.events()), "its event")
        process.send_signal(signal.SIGINT)
        until(lambda: (launching.run_dir() / "report.json").exists(), "the report")
        assert launching.report()["outcome"] == "succeeded"
    finally:
        os.close(reading)
    assert process.wait(DEADLINE_S) == 0


def test_a_full_disk_does_not_end_the_run(launching: Launching) -> None:
    """Where events.jsonl cannot be written the run goes on, and the user is told."""
    link = "rm runs/*/report.json; cd runs/* && mkdir .report.json.tmp"
    done = launching.run("--single", *sh(link))
    assert done.code == 0
    assert "report.json: cannot be written" in done.err
    assert "Traceback" not in done.err
    assert "succeeded" in done.out


def test_two_runs_at_once(launching: Launching) -> None:
    """Two runs started together have different folders and different ports."""
    launching.cluster()
    script = sh("while [ ! -e go ]; do sleep 0.02; done")
    first, second = launching.start(*script), launching.start(*script)
    until(lambda: len(list(launching.folder.glob("runs/*/logs/*.log"))) == 4, "four tasks")
    launching.write("go", "")
    assert end(first)[0] == end(second)[0] == 0
    plans = [json.loads(p.read_text()) for p in launching.folder.glob("runs/*/plan.json")]
    assert len({task["address"] for plan in plans for task in plan["tasks"]}) == 4


def test_metrics_and_model_come_from_markers(launching: Launching) -> None:
    """What the tasks report in marker lines stands in the report, and not on the console."""
    lines = [
        {"kind": "metrics", "step": 4, "loss": 0.5},
        {"kind": "metrics", "step": 9, "final": True, "loss": float("nan"), "accuracy": 0.98765},
        {"kind": "metrics", "step": 8, "loss": 3},
        {"kind": "model", "path": "/m\x1b[31m\udc00"},
    ]
    text = "\n".join(f"@launch {json.dumps(line)}" for line in lines)
    launching.write("marks.sh", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    done = launching.run("--single", "--", "./marks.sh")
    assert done.code == 0, done.err
    assert "@launch" not in done.out
    assert "result  step=9 loss=nan accuracy=0.9877\n" in done.out
    assert "model   /m?\n" in done.out
    report = launching.report()
    assert report["metrics"] == {"step": 9, "final": True, "loss": "nan", "accuracy": 0.98765}
    assert report["step"] == 9


def test_a_task_that_cannot_be_started(launching: Launching) -> None:
    """A program that the kernel refuses ends the run with 3 and its reason."""
    launching.cluster(TWO_TASKS)
    launching.write("broken", "#!/no/such/interpreter\n")
    done = launching.run("--", "./broken")
    assert done.code == 3
    assert "chief:0 failed first: ./broken could not be started" in done.out
    assert states(launching) == {"chief:0": "not started", "worker:0": "not started"}


def test_an_error_of_our_own_leaves_no_task_behind(launching: Launching) -> None:
    """Whatever goes wrong in the launcher itself, every task that was started is ended."""
    program = (
        "from launcher import lifecycle; from launcher.cli import main\n"
        "def broken(*_): raise RuntimeError('broken')\n"
        "lifecycle.step = broken\n"
        "main(['--', 'sleep', '1000'])\n"
    )
    launching.cluster()
    launching.write("broken.py", program)
    process = subprocess.run(
        [sys.executable, "broken.py"],
        cwd=launching.folder,
        env=launching.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert "RuntimeError: broken" in process.stderr
    assert len(list(launching.folder.glob("runs/*/logs/*.log"))) == 2
    until(lambda: not launching.living(), "the tasks' end", 5)
