"""What breaks under a run on hosts: connections, cables, daemons and disks; and what is told."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import cluster, sh
from tests.testbed import Testbed
from tests.testbed.host import Host

pytestmark = pytest.mark.testbed

LATEST_S = 75.0
MOMENT_S = 8.0  # of a busy machine
COUNT = "n=0; while [ $n -lt {0} ]; do n=$((n+1)); echo $n; sleep 0.02; done"
FOREVER = "echo up; exec sleep 1000"
LAST = 150


@pytest.fixture
def hosts(user: Launching, testbed: Testbed) -> Iterator[tuple[Host, ...]]:
    """h1, h2 and h3, one worker each; a host that cannot be reached is given up soon."""
    config = user.folder / "home/.ssh/config"
    config.write_text(f"{config.read_text()}Host *\n  ConnectTimeout 2\n")
    user.env["LAUNCH_UNREACHABLE_S"] = "4"
    user.cluster(cluster(testbed))
    yield testbed.hosts[:3]


def up(user: Launching, word: bytes = b"up") -> None:
    """Wait until every worker has printed a word."""
    for number in range(3):
        until(lambda n=number: word in user.log(f"worker-{n}"), "first words")  # type: ignore[misc]


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code and all that was printed; no traceback is ever among it."""
    out, err = process.communicate(timeout=LATEST_S)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out + err


def numbers(user: Launching) -> None:
    """Every worker's log holds every number once, in order."""
    expected = [str(n).encode() for n in range(1, LAST + 1)]
    for number in range(3):
        assert user.log(f"worker-{number}").split() == expected


def test_dropped_connections(user: Launching, remote: Engines, hosts: tuple[Host, ...]) -> None:
    """SSH connections that break while tasks print cost nothing: no line is lost or repeated."""
    process = user.start(*sh(COUNT.format(LAST)))
    up(user, b"10\n")
    for host in hosts:
        host.drop_ssh()
    up(user, b"80\n")
    hosts[1].drop_ssh()
    code, told = ended(process)
    assert code == 0, told
    numbers(user)
    assert remote.left() == []


def test_a_cut_that_heals(user: Launching, remote: Engines, hosts: tuple[Host, ...]) -> None:
    """A host that is away for some seconds is waited for; its tasks go on meanwhile."""
    user.env["LAUNCH_UNREACHABLE_S"] = "60"
    process = user.start(*sh(COUNT.format(LAST)))
    up(user, b"10\n")
    hosts[1].cut()
    until(lambda: user.log("worker-2").endswith(b"150\n"), "the others' end")
    hosts[1].heal()
    code, told = ended(process)
    assert code == 0, told
    numbers(user)
    assert remote.left() == []


def test_a_daemon_that_is_killed(user: Launching, remote: Engines, hosts: tuple[Host, ...]) -> None:
    """A dockerd that dies ends its containers as it comes back: why is told, all start again."""
    process = user.start(*sh(FOREVER))
    up(user)
    hosts[1].kill_docker()
    hosts[1].start_docker()
    for number in range(3):
        until(lambda n=number: b"up" in user.log(f"worker-{n}", 2), "second attempts")  # type: ignore[misc]
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    code, told = ended(process)
    assert code == 143, told
    assert "worker:1 failed: h2: its Docker was stopped, which ended worker:1" in told
    assert remote.left() == []


def test_a_daemon_that_is_stopped(
    user: Launching, remote: Engines, hosts: tuple[Host, ...]
) -> None:
    """A dockerd that stays down ends the run: the host and the remedy are told."""
    process = user.start(*sh(FOREVER))
    up(user)
    hosts[1].stop_docker()
    code, told = ended(process)
    assert code == 3, told
    assert "worker:1 failed: host h2: there is no /var/run/docker.sock: start Docker" in told
    assert user.report()["outcome"] == "host lost"
    hosts[1].start_docker()
    assert user.run("collect", user.run_dir().name).code == 0
    assert remote.left() == []


def test_a_host_that_is_lost(user: Launching, remote: Engines, hosts: tuple[Host, ...]) -> None:
    """A host cut for good ends the run; what it holds is collected once it is back."""
    process = user.start(*sh("echo up; echo r >/data/output/r; exec sleep 1000"))
    up(user)
    hosts[1].cut()
    cut_at = time.monotonic()
    until(lambda: "Lost" in [e["what"] for e in user.events()], "the host to be given up")
    assert time.monotonic() - cut_at < 4 + MOMENT_S  # $LAUNCH_UNREACHABLE_S, and one try more
    code, told = ended(process)
    assert code == 3, told
    run = user.run_dir()
    report = user.report()
    assert report["outcome"] == "host lost"
    assert report["first_failure"] == "worker:1"
    (problem,) = report["left_on_hosts"]
    assert problem.startswith("h2") or problem.startswith("host h2")
    assert f"launch collect {run.name}" in problem
    assert (run / "output/worker-0/r").exists()
    hosts[1].heal()
    living = user.run("collect", run.name)
    assert living.code == 2 and "still runs: worker:1 on h2" in living.err
    hosts[1].docker("kill", f"launch-{run.name}-worker-1-1")
    collected = user.run("collect", run.name)
    assert collected.code == 0, collected.err
    assert (run / "output/worker-1/r").exists()
    assert remote.left() == []


def test_stopped_while_a_host_is_cut(
    user: Launching, remote: Engines, hosts: tuple[Host, ...]
) -> None:
    """A second ^C does not wait for a host that cannot be reached, and names it."""
    user.env["LAUNCH_UNREACHABLE_S"] = "120"
    process = user.start(*sh(FOREVER))
    up(user)
    hosts[1].cut()
    process.send_signal(signal.SIGINT)
    until(lambda: "Stop" in [e["what"] for e in user.events()], "the stop")
    process.send_signal(signal.SIGINT)
    code, told = ended(process)
    assert code == 130, told
    (problem,) = user.report()["left_on_hosts"]
    assert "h2" in problem and "(tasks may still run there; `launch collect" in problem


@pytest.fixture
def full(testbed: Testbed) -> Iterator[Host]:
    """h2, without room where its engine keeps containers."""
    h2 = testbed.hosts[1]
    folder = "/var/lib/docker/containers"
    h2.exec("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder)
    try:
        yield h2
    finally:
        h2.exec("umount", "-l", folder)


def test_a_full_disk(user: Launching, remote: Engines, testbed: Testbed, full: Host) -> None:
    """A host without room for a container says so, and nothing of the run is left on any."""
    user.cluster(cluster(testbed))
    code, told = ended(user.start(*sh("exec sleep 1000")))
    assert code == 3, told
    assert f"worker:1 failed: {full.name}: Docker cannot create the container" in told
    assert "no space left on device" in told
    assert remote.left() == []


def test_results_cut_half_way(user: Launching, remote: Engines, hosts: tuple[Host, ...]) -> None:
    """Results whose host goes away stay there whole, and come home by `launch collect`."""
    hosts[1].slow(rate="40mbit")
    write = "dd if=/dev/urandom of=/data/output/big bs=1M count=24 2>/dev/null"
    process = user.start(*sh(write))
    until(lambda: (user.folder / "runs").exists() and _is_coming(user), "the results' beginning")
    hosts[1].cut()
    code, told = ended(process)
    assert code == 3, told
    run = user.run_dir()
    assert f"launch collect {run.name}" in told
    assert not (run / "output/worker-1").exists()
    hosts[1].fast()
    hosts[1].heal()
    collected = user.run("collect", run.name, "--json")
    assert collected.code == 0, collected.err
    assert json.loads(collected.out)["left_on_hosts"] == []
    assert (run / "output/worker-1/big").stat().st_size == 24 << 20
    assert remote.left() == []


def _is_coming(user: Launching) -> bool:
    """Whether the others' results are home, and so worker:1's are on their way."""
    output = user.run_dir() / "output"
    return all((output / f"worker-{number}/big").exists() for number in (0, 2))
