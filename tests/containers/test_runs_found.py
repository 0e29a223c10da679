"""Runs found by the labels on their hosts: listed by any machine that has the cluster.yaml."""

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import cluster, sh
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.testbed


@pytest.fixture
def other(testbed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    """Another machine: it has the same cluster.yaml and a key, and no runs."""
    folder = tmp_path_factory.mktemp("other")
    made = Launching(folder)
    made.env.update(testbed.environ(folder / "home"))
    made.env["XDG_CACHE_HOME"] = str(folder / "cache")
    made.cluster(cluster(testbed))
    try:
        yield made
    finally:
        made.close()


def orphaned(user: Launching, remote: Engines, script: str, tasks: int = 3) -> str:
    """Start a run, kill its launcher once all tasks run, and return the run's name."""
    process = user.start(*sh(script))
    until(lambda: len(remote.running()) == tasks, "all tasks to run")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    return user.run_dir().name


def listed(who: Launching, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """Return what `launch ps --json` lists."""
    done = who.run("ps", "--json", *words)
    assert done.code == code, done.out + done.err
    runs: list[dict[str, Any]] = json.loads(done.out)["runs"]
    return runs


def test_a_run_is_listed_from_another_machine(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """A run that outlives its launcher is listed by any machine with the same cluster.yaml."""
    user.cluster(cluster(testbed))
    run = orphaned(user, remote, "echo hello; exec sleep 600")
    (seen,) = listed(other)
    assert (seen["run"], seen["state"], seen["job"]) == (run, "running", "sh")
    assert (seen["up"], seen["total"], seen["attempts"]) == (3, 3, 1)
    assert seen["hosts"] == ["h1", "h2", "h3"] and seen["strategy"] == "multi_worker_mirrored"
    assert [(t["task"], t["role"], t["host"], t["state"]) for t in seen["tasks"]] == [
        (f"worker:{i}", "train", f"h{i + 1}", "up") for i in range(3)
    ]
    text = other.run("ps")
    assert text.code == 0 and text.err == ""
    head, row = text.out.splitlines()
    assert head.split()[:4] == ["run", "job", "state", "up"]
    assert row.startswith(f"{run}  sh   running  3/3  h1 h2 h3  20")
    testbed.hosts[1].docker("rm", "-f", f"launch-{run}-worker-1-1")
    testbed.hosts[2].docker("kill", f"launch-{run}-worker-2-1")
    until(lambda: len(remote.running()) == 1, "one task to be left")
    row = other.run("ps").out.splitlines()[1]
    assert "partly lost  1/3 without worker:1  h1 h3" in row
    assert row.endswith("1         worker:2=SIGKILL")
    testbed.hosts[0].docker("kill", f"launch-{run}-worker-0-1")
    until(lambda: not remote.running(), "all to have ended")
    assert [each["state"] for each in listed(other)] == ["ended, not collected"]
    assert [each["state"] for each in listed(user)] == ["ended, not collected"]


def test_a_host_that_is_gone(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """A host that cannot be reached is named, the exit code says so, and the others are shown."""
    user.cluster(cluster(testbed))
    run = orphaned(user, remote, "exec sleep 600")
    testbed.hosts[2].stop_sshd()
    done = other.run("ps")
    assert done.code == 3
    assert "h3" in done.err and "Traceback" not in done.err
    assert f"{run}  sh   partly seen  2/3 without worker:2  h1 h2" in done.out
    value = json.loads(other.run("ps", "--json").out)
    assert list(value["unreached"]) == ["h3"] and value["hosts"] == ["h1", "h2", "h3"]


def test_a_host_that_does_not_answer(testbed: Testbed, other: Launching) -> None:
    """A host whose cable is pulled is waited for, but not for long."""
    testbed.hosts[2].cut()
    began = time.monotonic()
    done = other.run("ps")
    assert done.code == 3 and "does not answer within 8 s" in done.err
    assert time.monotonic() - began < 15


def test_a_run_that_is_over(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """What has ended and is home is shown when asked for; kept containers are always shown."""
    user.cluster(cluster(testbed))
    assert user.run(*sh("true")).code == 0
    assert listed(user) == []
    (over,) = listed(user, "--all")
    assert (over["state"], over["outcome"], over["up"]) == ("ended", "succeeded", 0)
    shutil.rmtree(user.run_dir())
    assert user.run("--keep", *sh("true")).code == 0
    (kept,) = listed(user)
    assert (kept["state"], kept["outcome"]) == ("ended, kept on hosts", "succeeded")
    assert "all 0" in user.run("ps").out
    assert remote.left()


def test_nothing_runs(other: Launching) -> None:
    """Without runs there is a word that says so."""
    done = other.run("ps")
    assert (done.code, done.out, done.err) == (0, "no runs\n", "")


def test_foreign_containers_are_none_of_ours(other: Launching, testbed: Testbed) -> None:
    """Containers without our labels, or with a few of them, are no runs."""
    docker = testbed.hosts[0].docker
    docker("run", "-d", "--label", "launch.run=x", BUSYBOX, "sleep", "60")
    docker("run", "-d", BUSYBOX, "sleep", "60")
    assert listed(other) == []


def test_logs_from_hosts(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """Logs of a run whose launcher is gone come whole from its hosts, to any machine."""
    user.cluster(cluster(testbed))
    script = "i=0; while test $i -lt 5000; do echo line $i; i=$((i+1)); done; echo e >&2"
    run = orphaned(user, remote, f"{script}; exec sleep 600")
    lines = [f"line {number}" for number in range(5000)]
    for who in (user, other):
        done = who.run("logs", "last", "worker:1")
        assert (done.code, done.err) == (0, "launch: worker:1, attempt 1 on h2\n")
        assert _but_e(done.out) == lines
    assert other.run("logs", "--stderr", run[:-2], "worker-1").out == "e\n"
    everything = _but_e(other.run("logs", run).out)
    assert everything == [f"worker:{i} | {line}" for i in range(3) for line in lines]
    done = other.run("logs", "last", "chief:0")
    assert done.code == 2 and "expected one of worker:0, worker:1, worker:2" in done.err
    assert not list(other.folder.glob("runs")) and not _left_behind()


def test_logs_followed_from_hosts(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """`-f` follows containers until all have ended: soon after, where none starts them again."""
    user.cluster(cluster(testbed, "tasks: {worker: {host: h1}}\n"))
    script = "echo up; until test -e /data/output/go; do sleep 0.05; done; echo down; exit 1"
    run = orphaned(user, remote, script, tasks=1)
    process = other.start("logs", "-f", run)
    assert process.stdout and process.stdout.readline() == "worker:0 | up\n"
    name = f"launch-{run}-worker-0-1"
    testbed.hosts[0].docker("exec", name, "touch", "/data/output/go")
    assert process.stdout.readline() == "worker:0 | down\n"
    down_at = time.monotonic()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (0, "")
    assert time.monotonic() - down_at < 10
    assert err == "launch: worker:0, attempt 1 on h1\n"
    assert not _left_behind()


def test_following_hosts_can_be_left(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """^C leaves the run alone, and nothing here."""
    user.cluster(cluster(testbed))
    run = orphaned(user, remote, "echo up; exec sleep 600")
    process = other.start("logs", "-f", run)
    assert process.stdout
    assert sorted(process.stdout.readline() for _ in range(3)) == [
        f"worker:{i} | up\n" for i in range(3)
    ]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert len(remote.running()) == 3 and not _left_behind()


def test_logs_of_a_host_that_is_gone(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """What can be had is shown, the host is named, and the exit code says so."""
    user.cluster(cluster(testbed))
    run = orphaned(user, remote, "echo up; exec sleep 600")
    testbed.hosts[2].stop_sshd()
    done = other.run("logs", run)
    assert done.code == 3 and "h3" in done.err
    assert done.out.splitlines() == ["worker:0 | up", "worker:1 | up"]


def _but_e(text: str) -> list[str]:
    """Return the lines without those of stderr: an engine may take the streams in either order."""
    lines = text.splitlines()
    kept = [line for line in lines if not line.endswith("e") or "line" in line]
    assert len(kept) < len(lines)
    return kept


def _left_behind() -> list[Path]:
    """Return what a reader of logs has forgotten."""
    return list(Path(tempfile.gettempdir()).glob("launch-logs-*"))
