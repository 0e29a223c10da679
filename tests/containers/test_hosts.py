"""Runs on several hosts over SSH: where tasks meet, what is refused, what comes home."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.testbed

WORKERS = "tasks: {worker: {count: 3, hosts: [h1, h2, h3]}}\ntimeouts: {grace_s: 5}\n"
# $1 $2 $3: the workers' addresses; $i: the task's own number.
ADDRESSES = """\
i=$(echo "$TF_CONFIG" | sed 's/.*"index": //; s/}.*//')
set -- $(echo "$TF_CONFIG" | sed 's/.*"worker": .//; s/].*//; s/[",]//g')
"""


def host_lines(bed: Testbed, count: int = 3) -> str:
    """Return `hosts:` with h1, h2 … as ~/.ssh/config names them."""
    lines = [f"  {h.name}: {{address: {h.address}, ssh: {{host: {h.name}}}}}\n" for h in bed.hosts]
    return "hosts:\n" + "".join(lines[:count])


def cluster(bed: Testbed, rest: str = WORKERS, image: str = BUSYBOX) -> str:
    return f"image: {image}\n{host_lines(bed)}{rest}"


def sh(script: str) -> tuple[str, ...]:
    """Return the words that make every task run a shell script."""
    return "--", "sh", "-c", script


def plan(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "plan.json").read_text())
    return read


def ports(run: Path) -> list[int]:
    return [int(task["address"].rpartition(":")[2]) for task in plan(run)["tasks"]]


def started_at(user: Launching) -> dict[str, float]:
    """Return when each task was started, on the run's own clock."""
    return {e["task"]: e["time"] for e in user.events() if e["what"] == "Started"}


def test_three_hosts(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Tasks meet at their hosts' addresses on free ports; one login a host; results come home."""
    user.cluster(cluster(testbed))
    logins = [host.ssh_connections() for host in testbed.hosts]
    meet = (
        f"echo $TF_CONFIG; {ADDRESSES} hostname >/data/output/name\n"
        "case $i in\n"
        "0) until nc ${2%:*} ${2##*:} </dev/null | grep hello; do sleep 0.05; done;;\n"
        "1) echo hello | nc -l -p ${2##*:};;\n"
        "esac"
    )
    done = user.run(*sh(meet))
    assert done.code == 0, done.out + done.err
    assert b"hello" in user.log("worker-0")
    run = user.run_dir()
    told = json.loads(user.log("worker-2").splitlines()[0])
    expected = [f"{h.address}:{p}" for h, p in zip(testbed.hosts, ports(run), strict=False)]
    assert told["cluster"] == {"worker": expected}
    assert all(20000 <= port < 32000 for port in ports(run))
    for number in range(3):
        assert (run / f"output/worker-{number}/name").read_text() == f"h{number + 1}\n"
        assert (run / f"output/worker-{number}/name").stat().st_uid == os.geteuid()
    after = [host.ssh_connections() for host in testbed.hosts]
    assert [b - a for a, b in zip(logins, after, strict=True)] == [1, 1, 1, 0]
    assert remote.left() == []


def test_other_addresses_for_tasks(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """`address` is for TensorFlow and `ssh.host` for the launcher, IPv6 in either place."""
    h1, h2 = testbed.hosts[:2]
    key = user.folder / "home/.ssh/id_ed25519"
    user.cluster(
        f"image: {BUSYBOX}\nhosts:\n  h1: {{address: '{h1.address6}', ssh: {{host: h1}}}}\n"
        f"  h2: {{address: {h2.address}, ssh: {{host: '{h2.address6}', user: ml,"
        f" identity_file: {key}}}}}\ntasks: {{worker: {{hosts: [h1, h2], count: 2}}}}\n"
    )
    done = user.run(*sh("echo $TF_CONFIG"))
    assert done.code == 0, done.out + done.err
    workers = json.loads(user.log("worker-1"))["cluster"]["worker"]
    assert workers[0].startswith(f"[{h1.address6}]:") and workers[1].startswith(f"{h2.address}:")
    assert remote.left() == []


def test_two_runs_at_once(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Two runs on the same hosts have names, volumes and ports of their own."""
    user.cluster(cluster(testbed))
    both = [user.start(*sh("echo up; sleep 1; echo r >/data/output/r")) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, out + err
    first, second = (user.folder / "runs").iterdir()
    for number in range(3):
        assert ports(first)[number] != ports(second)[number]
        assert (first / f"output/worker-{number}/r").exists()
        assert (second / f"output/worker-{number}/r").exists()
    assert remote.left() == []


def test_the_same_port_in_two_runs(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A port of the file is one run's: the other is refused before it starts, or as it does."""
    rest = "tasks: {worker: {count: 3, hosts: [h1, h2, h3], port: 2345}}\n"
    user.cluster(cluster(testbed, rest))
    both = [user.start(*sh("sleep 2")) for _ in range(2)]
    ends = []
    for process in both:
        out, err = process.communicate(timeout=DEADLINE_S)
        ends.append(process.returncode)
        if process.returncode:
            assert "port 2345" in out + err, out + err
    assert 0 in ends or ends == [3, 3]
    assert set(ends) != {0}
    assert remote.left() == []


def test_all_problems_at_once(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Whatever is wrong with any host is told in one go, and nothing is started anywhere."""
    _, h2, h3, h4 = testbed.hosts
    known = user.folder / "home/.ssh/known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    known.write_text("".join(line for line in lines if not line.startswith(f"{h3.address},")))
    h4.stop_sshd()
    user.cluster(
        f"image: {BUSYBOX}\n{host_lines(testbed, 1)}"
        f"  h2: {{address: {h2.address}, ssh: {{host: h2, user: outsider}}}}\n"
        f"  h3: {{address: {h3.address}, ssh: {{host: h3}}}}\n"
        f"  h4: {{address: {h4.address}, ssh: {{host: h4}}}}\n"
        f"  h5: {{address: '{h2.address6}', docker_socket: /run/none.sock, ssh: {{host: h2}}}}\n"
        "data: {path: /no/data}\nvolumes: [{path: /no/volume, at: /v}]\n"
        "tasks: {worker: {count: 5, hosts: [h1, h2, h3, h4, h5], port: 22}}\n"
    )
    done = user.run(*sh("true"))
    assert done.code == 3, done.out + done.err
    problems = done.err.splitlines()
    for host, what in (
        ("h1", "there is no /no/data"),
        ("h1", "there is no /no/volume"),
        ("h1", "port 22, which worker:0 shall have, is taken"),
        ("h2", "usermod -aG docker outsider"),
        ("h3", "launch hosts trust"),
        ("h4", "is sshd running there"),
        ("h5", "there is no /run/none.sock"),
    ):
        assert any(host in line and what in line for line in problems), (host, what, done.err)
    assert not (user.folder / "runs").exists()
    assert remote.left() == []


@pytest.fixture
def image(testbed: Testbed, tmp_path: Path) -> str:
    """An image that only this machine's engine has: some megabytes on top of busybox."""
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "payload").write_bytes(os.urandom(4 << 20))
    (folder / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCOPY payload /payload\n")
    name = "launch-test/payload:1"
    testbed.local.docker("build", "-q", "-t", name, folder)
    return name


def test_a_slow_host_holds_nobody_up(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """An image that only this machine has is shipped; who has it starts while others wait."""
    first = "tasks: {worker: {count: 2, hosts: [h1, h3]}}\nimage_transfer: ship\n"
    user.cluster(cluster(testbed, first, image))
    done = user.run(*sh("ls -l /payload"))
    assert done.code == 0, done.out + done.err
    assert b"4194304" in user.log("worker-1")
    (user.folder / "runs").rename(user.folder / "before")
    testbed.hosts[1].slow(rate="20mbit")
    user.cluster(cluster(testbed, f"{WORKERS}image_transfer: auto\n", image))
    done = user.run(*sh("ls /payload"))
    assert done.code == 0, done.out + done.err
    at = started_at(user)
    assert at["worker:1"] > max(at["worker:0"], at["worker:2"]) + 1
    assert remote.left() == []


def test_collect_after_a_killed_launcher(
    user: Launching, remote: Engines, testbed: Testbed
) -> None:
    """After SIGKILL of the launcher every host's logs and results come home later."""
    user.cluster(cluster(testbed))
    process = user.start(*sh("echo up; sleep 1; echo r >/data/output/r; echo last"))
    for number in range(3):
        until(lambda n=number: b"up" in user.log(f"worker-{n}"), "first words")  # type: ignore[misc]
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE_S)
    run = user.run_dir()
    until(lambda: remote.running() == [], "the containers' end")
    collected = user.run("collect", run.name, "--json")
    assert collected.code == 0, collected.err
    assert len(json.loads(collected.out)["output"]) == 3
    for number in range(3):
        assert user.log(f"worker-{number}") == b"up\nlast\n"
        assert (run / f"output/worker-{number}/r").read_text() == "r\n"
    assert remote.left() == []


def test_dry_run_on_the_hosts(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """`--dry-run --hosts` shows the very plan that would run, with ports that are free there."""
    user.cluster(cluster(testbed))
    shown = user.run("--dry-run", "--hosts", "--json", *sh("true"))
    assert shown.code == 0, shown.err
    tasks = json.loads(shown.out)["tasks"]
    assert [task["host"] for task in tasks] == ["h1", "h2", "h3"]
    assert not (user.folder / "runs").exists()
    assert remote.left() == []


def test_json(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """`--json` prints the report alone on stdout, with where each host's results are."""
    user.cluster(cluster(testbed))
    done = user.run("--json", *sh("echo line; echo r >/data/output/r"))
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["outcome"] == "succeeded" and report["left_on_hosts"] == []
    assert len(report["output"]) == 3


def test_sixteen_tasks_on_a_host(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Sixteen tasks share a host's one connection: all start, print, and come home."""
    rest = "tasks: {worker: {count: 16, hosts: [h1]}}\ntimeouts: {grace_s: 5}\n"
    user.cluster(cluster(testbed, rest))
    logins = testbed.hosts[0].ssh_connections()
    done = user.run(*sh("seq 1 200; echo err >&2; echo r >/data/output/r"))
    assert done.code == 0, done.out + done.err
    for number in range(16):
        assert len(user.log(f"worker-{number}").splitlines()) == 201
        assert (user.run_dir() / f"output/worker-{number}/r").exists()
    assert testbed.hosts[0].ssh_connections() == logins + 1
    assert remote.left() == []


def test_a_daemon_that_hangs(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """A Docker that takes connections and says nothing is named, with where to look."""
    user.cluster(cluster(testbed))
    h2 = testbed.hosts[1]
    h2.exec("pkill", "-STOP", "-x", "dockerd")
    try:
        done = user.run(*sh("true"))
    finally:
        h2.exec("pkill", "-CONT", "-x", "dockerd")
    assert done.code == 3
    (only,) = done.err.splitlines()
    assert only.startswith("launch: h2: Docker does not answer: it does not answer any more")
    assert remote.left() == []
