"""The testbed itself: hosts that are apart, reachable, breakable, and gone without a trace."""

import functools
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import until
from tests.testbed import Host, Testbed, TestbedError
from tests.testbed.images import BUSYBOX, TENSORFLOW

pytestmark = pytest.mark.testbed


def ssh(bed: Testbed, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run OpenSSH's own client with the testbed's files."""
    command = ["ssh", "-F", str(bed.ssh_config), "-o", "ConnectTimeout=5", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_host_is_a_machine_of_its_own(testbed: Testbed, tmp_path: Path) -> None:
    """A host has its own name, address, Docker and files, and sees none of the launcher's."""
    host = testbed.hosts[1]
    said = ssh(testbed, "h2", f"hostname; ls {tmp_path}; docker info --format '{{{{.Name}}}}'")
    assert said.stdout.split() == ["h2", "h2"], said.stderr
    assert "No such file" in said.stderr
    assert host.exec("hostname").stdout == "h2\n"
    shown = host.docker("run", "--rm", "--network=host", BUSYBOX, "ip", "address")
    assert host.address in shown and host.address6 in shown
    ids = {h.engine.request("GET", "/info")["ID"] for h in testbed.hosts}
    assert len(ids) == len(testbed.hosts)


def test_users(testbed: Testbed) -> None:
    """ml may use Docker; outsider may log in only; a login is counted once."""
    before = testbed.hosts[0].ssh_connections()
    assert ssh(testbed, "-l", "ml", "h1", "docker ps -q").returncode == 0
    assert "permission denied" in ssh(testbed, "-l", "outsider", "h1", "docker ps").stderr
    assert testbed.hosts[0].ssh_connections() == before + 2


def test_hosts_reach_each_other_and_this_machine_reaches_them(testbed: Testbed) -> None:
    """A container of one host speaks to a container of another, over IPv4 and IPv6."""
    one, two = testbed.hosts[:2]
    for listen, address in (("0.0.0.0", one.address), ("[::]", one.address6)):
        serve = ("httpd", "-f", "-p", f"{listen}:8080", "-h", "/etc")
        one.docker("run", "-d", "--name=says", "--network=host", BUSYBOX, *serve)
        # Not wget: Debian's static busybox dies of a segmentation fault in it.
        get = f"printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 8080"
        argv = ("run", "--rm", "--network=host", BUSYBOX, "sh", "-c", get)
        until(functools.partial(_says, two, argv, "h1"), f"{address}:8080")
        one.docker("rm", "-f", "says")


def test_what_a_test_leaves_is_found_and_removed(testbed: Testbed) -> None:
    """Containers, networks, volumes and tags that came are removed by name; seeds stay."""
    before = testbed.holdings()
    host = testbed.hosts[2]
    host.docker("run", "-d", "--name=left", "-v", "kept:/data", BUSYBOX, "sleep", "1000")
    host.docker("network", "create", "extra")
    host.docker("tag", BUSYBOX, "other:1")
    testbed.local.docker("volume", "create", "here")
    removed = testbed.clear(before)
    assert sorted(r.split()[1] for r in removed) == [
        "container", "image", "network", "volume", "volume",
    ]  # fmt: skip
    assert not testbed.clear(before)
    assert host.docker("images", "-q", BUSYBOX)


def test_docker_killed_and_started(testbed: Testbed) -> None:
    """A killed dockerd does not answer; started again it does."""
    host = testbed.hosts[0]
    host.kill_docker()
    assert not host.engine.answers
    host.start_docker()
    assert host.engine.answers


def test_ssh_dropped_stopped_and_configured(testbed: Testbed) -> None:
    """Connections break at a drop; a stopped sshd refuses; another port has its own settings."""
    host = testbed.hosts[0]
    session = subprocess.Popen(
        ["ssh", "-F", str(testbed.ssh_config), "h1", "echo in; sleep 100"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    with session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        host.drop_ssh()
        assert session.wait(20) == 255
    host.stop_sshd()
    assert "refused" in ssh(testbed, "h1", "true").stderr
    host.start_sshd()
    assert ssh(testbed, "h1", "true").returncode == 0
    host.start_sshd(2222, "AllowTcpForwarding no")
    said = ssh(testbed, "-p", "2222", "-o", "StrictHostKeyChecking=no", "h1", "echo two")
    assert said.stdout == "two\n", said.stderr
    host.stop_sshd(2222)


def test_cut_and_healed(testbed: Testbed) -> None:
    """Through a cut cable nothing passes; the firewall stops one port; healed, all is back."""
    host = testbed.hosts[3]
    assert _reaches(testbed, host)
    host.cut()
    assert not _reaches(testbed, host)
    host.heal()
    until(lambda: _reaches(testbed, host), "the link")
    host.firewall(22)
    assert not _reaches(testbed, host)
    host.unfirewall(22)
    assert _reaches(testbed, host)


def test_bytes_on_the_wire(testbed: Testbed) -> None:
    """What is sent to a host is counted."""
    host = testbed.hosts[0]
    before = host.bytes_on_wire()
    subprocess.run(
        ["ssh", "-F", str(testbed.ssh_config), "h1", "cat >/dev/null"],
        input=b"\0" * 1_000_000, check=True, timeout=60,
    )  # fmt: skip
    assert 1_000_000 < host.bytes_on_wire() - before < 1_300_000


def test_a_slow_link(testbed: Testbed) -> None:
    """At 8 Mbit/s a megabyte takes most of a second; lossy links still deliver."""
    host = testbed.hosts[0]
    host.slow(rate="8mbit", loss_percent=1)
    assert ssh(testbed, "h1", "echo whole").stdout == "whole\n"
    host.fast()
    try:
        host.slow(delay_ms=20)
    except TestbedError as error:
        assert "no netem" in str(error)


def test_a_power_cut(testbed: Testbed) -> None:
    """After a power cut nothing of the host lives; booted again it knows its containers."""
    host = testbed.hosts[3]
    host.docker("run", "-d", "--name=worker", BUSYBOX, "sleep", "1000")
    host.power_off()
    assert not host.engine.answers
    assert not _reaches(testbed, host)
    host.power_on()
    assert "Exited" in host.docker("ps", "-a", "--format={{.Status}}", "--filter=name=worker")


def test_no_host_can_change_the_template(testbed: Testbed) -> None:
    """A container that rewrites the image's files changes nothing for other hosts."""
    one, two = testbed.hosts[:2]
    one.docker("run", "--rm", BUSYBOX, "rm", "/bin/busybox")
    one.docker("rmi", "-f", BUSYBOX)
    assert two.docker("run", "--rm", BUSYBOX, "echo", "whole") == "whole"
    archive = two.root / "tmp/busybox.tar"
    two.docker("save", "-o", str(archive), BUSYBOX)
    one.docker("load", "-i", str(archive))
    archive.unlink()


def test_the_launching_machine_has_an_engine(testbed: Testbed, tmp_path: Path) -> None:
    """The local engine sees this machine's files and joins containers by name on a network."""
    (tmp_path / "word").write_text("here")
    local = testbed.local
    mount = f"{tmp_path}:/mnt:ro"
    assert local.docker("run", "--rm", "--network=none", "-v", mount, BUSYBOX, "cat", "/mnt/word")
    local.docker("network", "create", "private")
    local.docker("run", "-d", "--network=private", "--name=chief", BUSYBOX, "sleep", "1000")
    ping = ("run", "--rm", "--network=private", BUSYBOX, "ping", "-c1", "-W5", "chief")
    assert "1 packets received" in local.docker(*ping)


def test_a_launchers_environment(testbed: Testbed, tmp_path: Path) -> None:
    """A launcher finds its key, its known hosts and its engine in a home of its own."""
    env = testbed.environ(tmp_path)
    assert env["DOCKER_HOST"] == testbed.local.docker_host
    config = (tmp_path / ".ssh/config").read_text()
    assert f"IdentityFile {tmp_path}/.ssh/id_ed25519" in config
    said = subprocess.run(
        ["ssh", "-F", str(tmp_path / ".ssh/config"), "h1", "whoami"],
        env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.stdout == "ml\n", said.stderr


def test_a_second_testbed_of_the_name_is_refused(testbed: Testbed) -> None:
    """While one lives, another of its name is refused, with the way out."""
    with pytest.raises(TestbedError, match=r"LAUNCH_TESTBED=|testbed down"):
        Testbed.up(1)
    assert testbed.hosts[0].engine.answers


@pytest.mark.tensorflow
def test_tensorflow_image(tensorflow_testbed: Testbed) -> None:
    """Every host has the TensorFlow image, which starts."""
    for host in tensorflow_testbed.hosts:
        assert host.docker("images", "-q", TENSORFLOW)
    program = "import tensorflow, keras; print(tensorflow.__version__, keras.__version__)"
    host = tensorflow_testbed.hosts[0]
    assert host.docker("run", "--rm", TENSORFLOW, "python", "-c", program) == "2.21.0 3.15.1"


def _says(host: Host, argv: tuple[str, ...], word: str) -> bool:
    return word in host.docker(*argv, check=False).split()


def _reaches(bed: Testbed, host: Host) -> bool:
    said = ssh(bed, "-o", "ConnectTimeout=2", host.name, "true")
    return said.returncode == 0


def test_a_clock_of_its_own(testbed: Testbed) -> None:
    """A host's clock can be wrong: in `date`, and in every time that its Docker tells."""
    host = testbed.hosts[1]
    host.docker("run", "-d", "--name=timed", BUSYBOX, "sh", "-c", "echo up; sleep 1000")
    try:
        host.skew_clock(3600)
        ahead = [float(ssh(testbed, "h2", "date +%s.%N").stdout) - time.time()]
        told = host.engine.request("GET", "/containers/timed/json")
        stamp = host.docker("logs", "--timestamps", "timed").split()[0]
        info = host.engine.request("GET", "/info")
        now = datetime.now(UTC)
        for text in (told["State"]["StartedAt"], told["Created"], stamp, info["SystemTime"]):
            ahead.append((datetime.fromisoformat(text) - now).total_seconds())
        (listed,) = host.engine.request("GET", "/containers/json")
        ahead.append(listed["Created"] - now.timestamp())
        assert [round(each / 60) for each in ahead] == 6 * [60]
        since = int(now.timestamp()) + 3600 - 60
        assert host.docker("logs", f"--since={since}", "timed") == "up"
        assert host.docker("logs", f"--since={since + 120}", "timed") == ""
        assert told["State"]["FinishedAt"].startswith("0001-")
    finally:
        host.mend_clock()
        host.docker("rm", "-f", "timed")
    assert abs(float(ssh(testbed, "h2", "date +%s.%N").stdout) - time.time()) < 30
    assert host.engine.answers
