"""`launch check --hosts`, and what is tried before a run: all that is wrong with the hosts."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import host_lines, sh
from tests.testbed import Testbed
from tests.testbed.host import Host
from tests.testbed.images import BUSYBOX
from tests.testbed.python_image import PYTHON, give_python, take_python

pytestmark = pytest.mark.testbed

THREE = "tasks: {worker: {count: 3, hosts: [h1, h2, h3], port: 2345}}\n"


@pytest.fixture(scope="module")
def image(testbed: Testbed) -> Iterator[str]:
    """An image with a Python in it and nothing else, on every engine."""
    give_python(testbed)
    yield PYTHON
    take_python(testbed)


def cluster(bed: Testbed, image: str, rest: str = THREE) -> str:
    return f"image: {image}\n{host_lines(bed, 3)}{rest}"


def fake(host: Host, program: str, script: str) -> Path:
    """Put a fake of a program first on a host's PATH; return where this machine sees it."""
    path = host.folder / "usr.local/bin" / program
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def listeners(bed: Testbed) -> list[str]:
    """Return the states of the listeners on all hosts."""
    return [
        each["State"]
        for host in bed.hosts
        for each in host.engine.request("GET", "/containers/json?all=1") or ()
        if isinstance(each, dict) and "launch.preflight" in each["Labels"]
    ]


def check(user: Launching) -> tuple[int, dict[str, Any]]:
    done = user.run("check", "--hosts", "--json")
    assert not done.err, done.err
    return done.code, json.loads(done.out)


def lines(told: dict[str, Any]) -> list[str]:
    return [f"{p['where']}: {p['what']}".removeprefix(": ") for p in told["problems"]]


def test_all_is_well(user: Launching, remote: Engines, testbed: Testbed, image: str) -> None:
    """Hosts without problems are called so, by the image's own python; nothing stays on them."""
    user.cluster(cluster(testbed, image))
    logins = [host.ssh_connections() for host in testbed.hosts[:3]]
    done = user.run("check", "--hosts")
    assert (done.code, done.err) == (0, ""), done.out
    assert "cluster.yaml: no problems; 3 tasks, docker, multi_worker_mirrored" in done.out
    assert "6 of 6 dials from host to host reached" in done.out
    assert "h1, h2, h3 by the image's python" in done.out
    assert [h.ssh_connections() for h in testbed.hosts[:3]] == [n + 1 for n in logins]
    assert remote.left() == []


def test_an_image_without_python(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Where the image has no python the host's listens, and that is said."""
    user.cluster(cluster(testbed, BUSYBOX))
    done = user.run("check", "--hosts")
    assert done.code == 0, done.err
    assert "by the host's python3 (the image has no python)" in done.out
    assert remote.left() == []


def test_everything_at_once(user: Launching, remote: Engines, testbed: Testbed, image: str) -> None:
    """A firewall, a missing folder, a stopped Docker and a dead sshd are told in one go."""
    _h1, h2, h3, h4 = testbed.hosts
    h2.firewall(2345)
    h3.stop_docker()
    h4.stop_sshd()
    tasks = "tasks: {worker: {count: 4, hosts: [h1, h2, h3, h4], port: 2345}}\n"
    user.cluster(f"image: {image}\n{host_lines(testbed, 4)}{tasks}data: {{path: /no/data}}\n")
    code, told = check(user)
    assert code == 3
    found = lines(told)
    for line in (
        "h1 → h2:2345 no answer within 2 s; h2 listens, a firewall?",
        "h1: there is no /no/data; containers shall see it",
        "h2: there is no /no/data; containers shall see it",
    ):
        assert line in found
    assert any(line.startswith("h3:") and "systemctl start docker" in line for line in found)
    assert any(line.startswith("h4:") and "is sshd running there" in line for line in found)
    assert len(found) == 5, found
    h3.start_docker()
    assert remote.left() == []


def test_a_pair_that_is_refused(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """The one pair that cannot talk is named with both ends."""
    h1, h2 = testbed.hosts[:2]
    h1.exec("iptables", "-I", "INPUT", "-s", h2.address, "-p", "tcp", "--dport", "2345",
            "-j", "REJECT", "--reject-with", "tcp-reset")  # fmt: skip
    user.cluster(cluster(testbed, image))
    code, told = check(user)
    assert (code, lines(told)) == (3, ["h2 → h1:2345 refused; h1 listens, a firewall?"])
    assert told["connectivity"]["reached"] == 5


def test_an_address_that_is_not_the_hosts(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """Where another address of a host is reached by all, it is named as the remedy."""
    h2 = testbed.hosts[1]
    unused = testbed.subnet.address(77)
    text = cluster(testbed, image).replace(f"address: {h2.address},", f"address: {unused},")
    user.cluster(text)
    code, told = check(user)
    remedy = f"h2 is reached at {h2.address}: write `address: {h2.address}` in hosts.h2"
    assert code == 3
    assert [line.partition("; ")[2] for line in lines(told)] == [remedy]
    assert lines(told)[0].startswith("h1, h3 → h2:2345 ")


def test_an_address_of_another_host(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """A port that answers is no pass where it is another host's."""
    h1, h2 = testbed.hosts[:2]
    text = cluster(testbed, image).replace(f"address: {h2.address},", "address: swap,")
    text = text.replace(f"address: {h1.address},", f"address: {h2.address},")
    user.cluster(text.replace("address: swap,", f"address: {h1.address},"))
    code, told = check(user)
    assert code == 3
    found = [line.partition("; ")[0] for line in lines(told)]
    assert sorted(found) == [
        "h1, h3 → h2:2345 is answered by another machine",
        "h2, h3 → h1:2345 is answered by another machine",
    ]


def test_sshd_that_forwards_nothing(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """Where sshd forbids TCP forwarding a command on the host dials."""
    h1, h2 = testbed.hosts[:2]
    h1.start_sshd(22, "AllowTcpForwarding no")
    h2.firewall(2345)
    try:
        user.cluster(cluster(testbed, image))
        code, told = check(user)
    finally:
        h1.start_sshd(22)
    assert (code, lines(told)) == (
        3,
        ["h1, h3 → h2:2345 no answer within 2 s; h2 listens, a firewall?"],
    )
    assert told["connectivity"]["reached"] == 4


def test_a_port_that_nobody_can_have(
    user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """A port that somebody has already is told once, and nothing is dialled there."""
    user.cluster(cluster(testbed, image, THREE.replace("2345", "22")))
    code, told = check(user)
    assert code == 3
    taken = [f"h{n + 1}: port 22, which worker:{n} shall have, is taken" for n in range(3)]
    assert lines(told) == taken
    assert told["connectivity"]["reached"] == 0


@pytest.fixture
def odd(testbed: Testbed) -> Iterator[Host]:
    """h2 with a fake `date` that is 7.5 s ahead, and a fake `df` that sees 300 MB."""
    h2 = testbed.hosts[1]
    made = [
        fake(h2, "date", 'exec /usr/bin/date -d "7.5 seconds" "$@"'),
        fake(h2, "df", "echo /dev/sda1 9999999 1 300000 99% /var/lib/docker"),
    ]
    yield h2
    for path in made:
        path.unlink()


def test_a_clock_and_a_disk(
    user: Launching, remote: Engines, testbed: Testbed, odd: Host, image: str
) -> None:
    """A clock that is off and a disk with little room are noted, and keep nobody from a run."""
    user.cluster(cluster(testbed, image))
    code, told = check(user)
    assert code == 0, told
    clock, disk = told["notes"]
    assert clock.startswith("h2: its clock is 7.") and "s ahead of this machine's" in clock
    assert disk.startswith("h2: 307.2 MB are free where its Docker keeps data (/var/lib/docker)")
    done = user.run(*sh("true"))
    assert f"note: {disk}" in done.out


def test_a_full_disk(
    user: Launching, remote: Engines, testbed: Testbed, odd: Host, image: str
) -> None:
    """Without room a host is refused, by a run too."""
    fake(odd, "df", "echo /dev/sda1 9999999 1 0 100% /var/lib/docker")
    user.cluster(cluster(testbed, image))
    code, told = check(user)
    assert code == 3
    assert lines(told)[0].startswith("h2: the disk where its Docker keeps data (/var/lib/docker)")
    done = user.run(*sh("true"))
    assert done.code == 3 and lines(told)[0] in done.err


def test_an_image_to_be_shipped(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """An image that is here alone can be shipped; its user must be able to write checkpoints."""
    name = "launch-test/user:1"
    testbed.local.docker("build", "-q", "-t", name, "-",
                         stdin=f"FROM {BUSYBOX}\nUSER 1234\nLABEL a=b\n")  # fmt: skip
    for host in testbed.hosts:
        host.exec("mkdir", "-p", "/srv/checkpoints")
    user.cluster(cluster(testbed, name, f"{THREE}checkpoints: /srv/checkpoints\n"))
    code, told = check(user)
    assert [host["image"] for host in told["hosts"]] == 3 * ["shipped"]
    what = "the image's user (1234) may not write to /srv/checkpoints, the `checkpoints:` folder"
    assert (code, lines(told)) == (3, [f"h{n}: {what}" for n in (1, 2, 3)])


def test_an_image_that_is_nowhere(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Without a registry that answers, and nothing here to ship, there is no way to an image."""
    user.cluster(cluster(testbed, "127.0.0.1:9/nowhere:1"))
    code, told = check(user)
    assert code == 3
    for name in ("h1", "h2", "h3"):
        (line,) = (line for line in lines(told) if line.startswith(name))
        assert "and this machine has no Docker image of that name to ship" in line


def test_before_a_run(user: Launching, remote: Engines, testbed: Testbed, image: str) -> None:
    """A run on hosts that do not reach each other is refused, unless it is not to be tried."""
    testbed.hosts[1].firewall(2345)
    user.cluster(cluster(testbed, image))
    done = user.run(*sh("true"))
    assert done.code == 3, done.out
    assert "h1, h3 → h2:2345 no answer within 2 s; h2 listens, a firewall?" in done.err
    assert not (user.folder / "runs").exists()
    assert remote.left() == []
    done = user.run("--preflight", "none", *sh("true"))
    assert done.code == 1, done.out + done.err  # this image has no shell: it was started


def test_a_pass_is_remembered(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Hosts that have passed are not tried again before the next run, unless that is asked for."""
    user.cluster(cluster(testbed, BUSYBOX))
    assert user.run(*sh("true")).code == 0
    testbed.hosts[1].firewall(2345)
    assert user.run(*sh("true")).code == 0
    done = user.run("--preflight", "full", *sh("true"))
    assert done.code == 3 and "→ h2:2345 no answer" in done.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(
    how: signal.Signals, user: Launching, remote: Engines, testbed: Testbed, image: str
) -> None:
    """However a check ends, its listeners go with it."""
    testbed.hosts[1].firewall(2345)  # so that the dials take a while
    user.cluster(cluster(testbed, image))
    process = user.start("check", "--hosts")
    until(lambda: listeners(testbed) == 3 * ["running"], "three listeners")
    process.send_signal(how)
    process.wait(DEADLINE_S)
    until(lambda: listeners(testbed) == [], "the listeners' end")
    assert remote.left() == []
