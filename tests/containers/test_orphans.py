"""Containers whose launcher is gone end by themselves, where `orphan_s` asks for it."""

import io
import signal
import tarfile
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import cluster, sh
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

REST = "tasks: {worker: {count: 3, hosts: [h1, h2, h3]}}\ntimeouts: {grace_s: 1, orphan_s: 3}\n"
BARE = "launch-testbed/bare:1"


def test_a_launcher_that_is_killed(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """The whole gang ends, asked first, then killed; a collect finds it all."""
    user.cluster(cluster(testbed, REST))
    script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.2; done"
    process = user.start(*sh(script))
    until(lambda: all(user.log(f"worker-{n}") for n in range(3)), "three tasks")
    process.kill()
    process.wait()
    until(lambda: remote.running() == [], "the tasks' end")
    done = user.run("collect", user.run_dir().name)
    assert done.code == 0, done.err
    assert user.log("worker-1") == b"up\nasked\n"
    assert remote.left() == []


def test_a_launcher_that_lives(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Under a launcher that lives codes, signals and logs are what they are without the watch."""
    user.cluster(cluster(testbed, REST))
    script = "trap 'echo out; exit 42' TERM; for i in 1 2 3 4 5 6 7; do sleep 1; done; echo lives;"
    process = user.start(*sh(script + "while :; do sleep 0.1; done"))
    until(lambda: all(user.log(f"worker-{n}") for n in range(3)), "seven seconds")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out + err  # every task has saved its state
    assert user.log("worker-2") == b"lives\nout\n"
    user.cluster(cluster(testbed, f"{REST}restarts: {{max: 0}}\n"))
    ended = user.run(*sh("kill -9 $$"))
    assert ended.code == 1 and "SIGKILL" in ended.out + ended.err
    assert remote.left() == []


@pytest.fixture
def bare(testbed: Testbed, tmp_path: Path) -> None:
    """Give the hosts an image that holds a program and no shell."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add("/bin/busybox", "busybox")
    (tmp_path / "bare.tar").write_bytes(archive.getvalue())
    for host in testbed.hosts[:3]:
        host.docker("import", tmp_path / "bare.tar", BARE)


@pytest.mark.usefixtures("bare")
def test_an_image_without_a_shell(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Where an image has no shell the run goes on without a watch, and says so."""
    user.cluster(cluster(testbed, REST, BARE))
    done = user.run("--", "/busybox", "echo", "a  b")
    assert done.code == 0, done.out + done.err
    assert "note: timeouts.orphan_s does nothing on h1: the image has no /bin/sh" in done.out
    assert user.log("worker-0") == b"a  b\n"
    assert remote.left() == []
