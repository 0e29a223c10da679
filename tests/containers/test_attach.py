"""A run outlives its launcher, and another launcher takes it up: whatever happened meanwhile."""

import json
import os
import shutil
import signal

import pytest

from tests.conftest import Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import sh
from tests.containers.test_recovery import COUNTER, one_host
from tests.testbed import Host, Testbed

pytestmark = pytest.mark.testbed


def orphaned(user: Launching, testbed: Testbed, last: int, text: str = "") -> str:
    """Begin a run, kill its launcher while it counts, and return its name."""
    user.cluster(one_host(testbed) + text)
    process = user.start(*sh(COUNTER.format(last=last)))
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return user.run_dir().name


def steps(user: Launching, attempt: int = 1) -> list[int]:
    """Return the steps that a task has told, in the order of its log."""
    lines = user.log("worker-0", attempt).decode().splitlines()
    return [json.loads(line.removeprefix("@launch "))["step"] for line in lines if "@" in line]


def test_taken_up_while_it_runs(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """The container goes on without a launcher; who attaches gets all of its log, and its end."""
    run = orphaned(user, testbed, last=200)
    assert len(remote.running()) == 1
    done = user.run("attach", run)
    assert done.code == 0, done.err
    assert steps(user) == list(range(1, 201))
    assert user.report()["outcome"] == "succeeded"
    assert (user.run_dir() / "output/worker-0/state").read_text() == "200\n"
    assert remote.left() == []


def test_taken_up_after_it_has_ended(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A run that ended meanwhile is told as if it had been watched."""
    run = orphaned(user, testbed, last=60)
    until(lambda: remote.running() == [], "its end")
    done = user.run("attach", run)
    assert done.code == 0, done.err
    assert "secret" not in done.err
    assert steps(user) == list(range(1, 61))
    assert remote.left() == []


def test_taken_up_on_another_machine(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Nothing but cluster.yaml is needed: what a restart takes is in the earlier container.

    A secret that is not there any more is asked for.
    """
    user.write("note.txt", "kept")
    secret = "code: .\nsecrets: {token: {file: note.txt}}\nrestarts: {backoff_s: 0}\n"
    run = orphaned(user, testbed, 10_000, secret)
    shutil.rmtree(user.folder / "runs")
    (name,) = remote.running()
    testbed.hosts[0].docker("exec", name.lstrip("/"), "rm", "-f", "/run/secrets/token")
    (ours, theirs), asked = os.openpty(), ""
    process = user.start("attach", "--cluster", "cluster.yaml", run, stdin=theirs)
    assert process.stderr
    while not asked.endswith("secret token: "):
        asked += process.stderr.read(1)
    os.write(ours, b"typed\n")
    until(lambda: len(steps(user)) > 9, "its log")
    os.close(theirs)
    os.close(ours)
    testbed.hosts[0].docker("kill", name.lstrip("/"))
    until(lambda: b'"step":2,' in user.log("worker-0", 2), "another attempt")
    (again,) = remote.running()
    held = ["/data/note.txt", "/run/secrets/token"]
    assert testbed.hosts[0].docker("exec", again.lstrip("/"), "cat", *held) == "kepttyped"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert remote.left() == []


def test_taken_up_with_other_ports(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A port that was taken gets the tasks others, also where another launcher began the run."""
    taken = "n=$(ls /data/output | wc -l); echo >/data/output/$n; echo $TF_CONFIG; "
    again = "[ $n = 1 ] && { echo Could not start gRPC server; exit 1; }; [ $n = 2 ] && exit; "
    user.cluster(f"{one_host(testbed)}restarts: {{backoff_s: 0}}\n")
    process = user.start(*sh(f"{taken}{again}exec sleep 1000"))
    until(lambda: user.log("worker-0") != b"", "its words")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (name,) = remote.running()
    process = user.start("attach", user.run_dir().name)
    until(lambda: "Adopt" in (event["what"] for event in user.events()), "the launcher")
    testbed.hosts[0].docker("kill", name.lstrip("/"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    first, same, other = (user.log("worker-0", attempt).splitlines()[0] for attempt in (1, 2, 3))
    assert first == same != other
    assert remote.left() == []


def on(*hosts: Host) -> str:
    """Return what a cluster.yaml says of these hosts and their image."""
    listed = (f"  {h.name}: {{address: {h.address}, ssh: {{host: {h.name}}}}}\n" for h in hosts)
    return f"image: launch-testbed/busybox:1\nhosts:\n{''.join(listed)}"


def test_taken_up_without_a_host(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Tasks of a host that is lost meanwhile move, made after one of a task that is alike."""
    h1, h2 = testbed.hosts[:2]
    user.write("token", "hush")
    user.cluster(
        f"{on(h1, h2)}"
        "tasks: {chief: {host: h1}, worker: {host: h2}}\ncheckpoints: /srv\n"
        "restarts: {move: true}\nsecrets: {token: {file: token}}\n"
    )
    once = "[ -f /srv/moved ] && exit; : >/srv/moved; "
    process = user.start(*sh(f"cat /run/secrets/token; echo; {once}exec sleep 1000"))
    for task in ("chief-0", "worker-0"):
        until(lambda t=task: user.log(t) != b"", f"{task}'s words")  # type: ignore[misc]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = user.run_dir().name
    try:
        h2.power_off()
        done = user.run("attach", run)
        assert done.code == 3, done.out + done.err  # what h2 holds is not home
        assert "h2: cannot be reached (tasks may still run there; " in done.out
        assert user.report()["outcome"] == "succeeded"
        assert "launch: host h2" in done.err
        assert user.log("chief-0", 2) == user.log("worker-0", 2) == b"hush\n"
    finally:
        h2.power_on()
        for host in (h1, h2):
            host.exec("rm", "-f", "/srv/moved")
    assert user.run("collect", run).code == 0
    assert remote.left() == []


def test_taken_up_without_its_evaluator(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A run goes on without an evaluator whose host cannot be reached."""
    h1, h2 = testbed.hosts[:2]
    user.cluster(
        f"{on(h1, h2)}"
        "tasks: {chief: {host: h1}, evaluator: {host: h2}}\ntimeouts: {grace_s: 1}\n"
    )
    process = user.start(*sh("while [ ! -e /data/output/go ]; do sleep 0.1; done"))
    until(lambda: len(remote.running()) == 2, "both tasks")
    (chief,) = (name for name in remote.running() if "chief" in name)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = user.run_dir().name
    try:
        h2.power_off()
        again = user.start("attach", run)
        until(lambda: "Lost" in (event["what"] for event in user.events()), "the loss")
        h1.docker("exec", chief.lstrip("/"), "touch", "/data/output/go")
        out, err = again.communicate(timeout=60)
        assert "Traceback" not in out + err
        assert again.returncode == 3, out + err  # what h2 holds is not home
        assert user.report()["outcome"] == "succeeded", out + err
    finally:
        h2.power_on()
    assert user.run("collect", run).code == 0
    assert remote.left() == []


def test_taken_up_where_its_evaluator_has_gone(
    user: Launching, remote: Engines, testbed: Testbed
) -> None:
    """An evaluator that moved alone is found on its new host, which had no task before."""
    hosts = testbed.hosts[:3]
    user.cluster(
        f"{on(*hosts)}"
        "tasks: {chief: {host: h1}, evaluator: {host: h2}}\ntimeouts: {grace_s: 1}\n"
        "restarts: {move: true}\n"
    )
    user.env |= {"LAUNCH_UNREACHABLE_S": "4"}
    process = user.start(*sh("echo up; while [ ! -e /data/output/go ]; do sleep 0.1; done"))
    until(lambda: len(remote.running()) == 2, "both tasks")
    (chief,) = (name for name in remote.running() if "chief" in name)
    try:
        hosts[1].power_off()
        until(lambda: user.log("evaluator-0", 2) == b"up\n", "the evaluator elsewhere", 60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        again = user.start("attach", user.run_dir().name)
        until(lambda: _count(user, "Adopt") == 2 and _count(user, "Started") == 5, "both tasks")
        hosts[0].docker("exec", chief.lstrip("/"), "touch", "/data/output/go")
        out, err = again.communicate(timeout=60)
        assert "Traceback" not in out + err
        assert again.returncode == 3, out + err  # what h2 holds is not home
        report = user.report()
        assert report["outcome"] == "succeeded", out + err
        assert [task["attempt"] for task in report["tasks"]] == [1, 2]
    finally:
        hosts[1].power_on()
    assert user.run("collect", user.run_dir().name).code == 0
    assert remote.left() == []


def _count(user: Launching, what: str) -> int:
    return [event["what"] for event in user.events()].count(what)


def test_a_chief_that_moves_once_taken_up(
    user: Launching, remote: Engines, testbed: Testbed
) -> None:
    """It is made after a worker, with its new host's checkpoints, and the lease goes with it."""
    h1, h2 = testbed.hosts[:2]
    user.cluster(
        f"{on(h1, h2)}"
        "tasks: {chief: {host: h2}, worker: {host: h1}}\nrestarts: {move: true}\n"
    )
    user.env["LAUNCH_UNREACHABLE_S"] = "4"
    config = user.folder / "home/.ssh/config"
    config.write_text(f"{config.read_text()}Host *\n  ConnectTimeout 2\n")
    process = user.start(*sh("ls -d $LAUNCH_CHECKPOINT_DIR; exec sleep 1000"))
    for task in ("chief-0", "worker-0"):
        until(lambda t=task: user.log(t) != b"", f"{task}'s words")  # type: ignore[misc]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = user.run_dir().name
    try:
        process = user.start("attach", run)
        until(lambda: "Adopt" in (event["what"] for event in user.events()), "the launcher")
        h2.power_off()
        until(lambda: user.log("chief-0", 2) == b"/data/checkpoints\n", "the chief on h1", 90)
        refused = user.run("stop", "--runs-dir", "other", "--cluster", "cluster.yaml", run)
        assert refused.code == 3
        assert f"(process {process.pid}) supervises it" in refused.err
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        h2.power_on()
    assert user.run("collect", run).code == 0
    assert remote.left() == []


def test_stopped_without_a_launcher(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """`launch stop` ends a run whose launcher is gone too, with its state saved and home.

    An attempt before the latest that lives still (its host was lost) is not waited for.
    """
    run = orphaned(user, testbed, 10_000)
    labels = {"run": run, "task": "worker:0", "attempt": "0", "output": "/data/output"}
    words = (word for key, value in labels.items() for word in ("--label", f"launch.{key}={value}"))
    image = ("launch-testbed/busybox:1", "sh", "-c", "echo before; sleep 1000")
    testbed.hosts[0].docker("run", "-d", "--name", f"launch-{run}-worker-0-0", *words, *image)
    done = user.run("stop", run)
    assert user.log("worker-0", 0) == b"before\n"
    assert done.code == 0, done.err
    assert "stopped, its state is saved" in done.out
    assert int((user.run_dir() / "output/worker-0/state").read_text()) >= 9
    assert remote.left() == []


def test_not_resumed_while_it_runs(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """What still runs is not started a second time: who wants that is told how to take it up."""
    run = orphaned(user, testbed, 200)
    refused = user.run("resume", run)
    assert refused.code == 3
    assert f"{run}: still runs: worker:0 on h1; launch attach takes it up" in refused.err
    assert len(remote.running()) == 1
    assert user.run("attach", run).code == 0
    assert remote.left() == []


def test_one_launcher_at_a_time(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Who wants a run that is supervised is told by whom, on this machine and on another."""
    user.cluster(one_host(testbed))
    process = user.start(*sh(COUNTER.format(last=10_000)))
    until(lambda: b'"step":9,' in user.log("worker-0"), "steps")
    run = user.run_dir().name
    refused = user.run("attach", run)
    assert refused.code == 3
    assert f"process {process.pid} on" in refused.err
    elsewhere = user.run("attach", "--runs-dir", "other", "--cluster", "cluster.yaml", run)
    assert elsewhere.code == 3
    assert f"(process {process.pid}) supervises it" in elsewhere.err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert remote.left() == []


def test_watching_a_launcher_in_the_background(
    user: Launching, remote: Engines, testbed: Testbed
) -> None:
    """Who attaches to what is supervised in the background sees its console, to its end."""
    user.cluster(one_host(testbed))
    assert user.run("--detach", *sh(COUNTER.format(last=100))).code == 0
    done = user.run("attach", "last")
    assert done.code == 0, done.err
    assert "worker:0 | from 0" in done.out
    assert "succeeded after" in done.out


def test_a_run_that_is_over(user: Launching, testbed: Testbed) -> None:
    """A run of which nothing is left on its hosts is not taken up."""
    user.cluster(one_host(testbed))
    assert user.run(*sh("true")).code == 0
    done = user.run("attach", "last")
    assert done.code == 2
    assert "no container of it is on its hosts" in done.err
