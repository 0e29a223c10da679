"""Containers on real hosts, followed over one SSH connection while everything around breaks."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from launcher.container_logs import LogFollower
from launcher.container_logs.record import position_path, stderr_path
from launcher.engine import Engine
from launcher.errors import HostError
from launcher.ssh import Connections, Target
from tests.conftest import DEADLINE_S, until
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

IMAGE = "launch-testbed/busybox:1"
LINES = 30_000
# Lines of both streams, numbered, a thousand at once: some seconds of work for a follower.
COUNTS = f"""
i=0
while [ $i -lt {LINES} ]; do
  i=$((i + 1))
  echo out $i
  [ $((i % 10)) = 0 ] && echo err $i >&2
  [ $((i % 1000)) = 0 ] && usleep 100000
done
"""
FOREVER = f"while :; do {COUNTS} done"
FOLLOW_HERE = """
import sys
from pathlib import Path
from launcher.container_logs import LogFollower
from launcher.engine import Engine
from launcher.ssh import Connections, Target
home, container_id, path = sys.argv[1:]
connection = Connections(home=Path(home)).of(Target("h1", "h1"))
LogFollower(Engine("h1", connection.open_socket), container_id, path, is_over=bool).run()
"""


class Host:
    """h1, as the launcher sees it: one connection, through which its engine is reached."""

    def __init__(self, bed: Testbed, folder: Path) -> None:
        self.bed = bed.hosts[0]
        self.folder = folder
        self.home = folder / "home"
        bed.environ(self.home)
        self.connections = Connections(home=self.home)
        connection = self.connections.of(Target("h1", "h1"))
        self.logins_before = self.bed.ssh_connections()
        self.engine = Engine("h1", connection.open_socket)

    def start(self, script: str, *options: str) -> str:
        """Start a container that runs a shell script; return its id."""
        words = ("run", "--detach", "--network", "none", *options, IMAGE, "sh", "-c", script)
        return self.bed.docker(*words)

    def log_of(self, container_id: str, *, stderr: bool) -> bytes:
        """Return what the engine holds of one stream."""
        got = self.engine.api.logs(container_id, stdout=not stderr, stderr=stderr)
        assert isinstance(got, bytes)
        return got

    def logins(self) -> int:
        """Return how many connections there were."""
        return self.bed.ssh_connections() - self.logins_before

    def close(self) -> None:
        self.engine.close()
        self.connections.close()


@pytest.fixture
def host(testbed: Testbed, tmp_path: Path) -> Iterator[Host]:
    """h1; what is followed on it has ended when it is closed."""
    made = Host(testbed, tmp_path)
    try:
        yield made
    finally:
        made.close()


class Following:
    """A follower at work in a thread of its own, as a backend would have it."""

    def __init__(self, host: Host, container_id: str, name: str = "worker-0.1") -> None:
        self.host = host
        self.container_id = container_id
        self.log = host.folder / f"{name}.log"
        self.error: HostError | None = None
        self.unreachable_s = 60.0
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "Following":
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            LogFollower(
                self.host.engine,
                self.container_id,
                str(self.log),
                is_over=bool,
                unreachable_s=self.unreachable_s,
            ).run()
        except HostError as error:
            self.error = error

    def until_it_has(self, size_bytes: int) -> None:
        until(lambda: self.size() >= size_bytes, f"{size_bytes} bytes of {self.log}")

    def size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def end(self, deadline_s: float = 2 * DEADLINE_S) -> None:
        self._thread.join(deadline_s)
        assert not self._thread.is_alive(), "the follower did not end"

    def is_whole(self) -> bool:
        """Whether the files hold, once, what the engine holds."""
        return is_whole(self.host, self.container_id, self.log)


def is_whole(host: Host, container_id: str, log: Path) -> bool:
    """Whether files hold, once, what the engine holds of both streams of COUNTS."""
    lines = log.read_bytes().splitlines(keepends=True)
    out = b"".join(line for line in lines if line.startswith(b"out"))
    err = b"".join(line for line in lines if line.startswith(b"err"))
    assert len(out) + len(err) == log.stat().st_size
    assert Path(stderr_path(str(log))).read_bytes() == err
    return (out, err) == (
        host.log_of(container_id, stderr=False),
        host.log_of(container_id, stderr=True),
    )


def numbered(log: Path) -> Sequence[int]:
    """Return the numbers of a log's lines on stdout."""
    return [int(line[4:]) for line in log.read_text().splitlines() if line.startswith("out")]


def test_both_streams_come_in_whole_lines(host: Host) -> None:
    """Lines longer than the engine's messages are whole, and the last needs no newline."""
    script = (
        "printf '%040000d' 7; echo early >&2; printf '%050000d\\n' 8; echo late >&2; printf end"
    )
    following = Following(host, host.start(script)).start()
    following.end()
    assert following.error is None
    long = b"0" * 39_999 + b"7" + b"0" * 49_999 + b"8\n"
    lines = following.log.read_bytes().splitlines(keepends=True)
    assert sorted(lines) == sorted([long, b"early\n", b"late\n", b"end"])
    assert lines[-1] == b"end"
    assert Path(stderr_path(str(following.log))).read_bytes() == b"early\nlate\n"


def test_dropped_connections_lose_and_repeat_nothing(host: Host) -> None:
    """Three times the SSH connection breaks under a stream; one at a time is opened anew."""
    following = Following(host, host.start(COUNTS)).start()
    for size_bytes in (20_000, 100_000, 200_000):
        following.until_it_has(size_bytes)
        host.bed.drop_ssh()
    following.end()
    assert following.error is None
    assert numbered(following.log) == list(range(1, LINES + 1))
    assert following.is_whole()
    assert host.logins() == 4


def test_a_killed_daemon_loses_and_repeats_nothing(host: Host) -> None:
    """dockerd dies under a stream and comes back: what its log holds then is home, once."""
    following = Following(host, host.start(FOREVER, "--init", "--stop-timeout", "1")).start()
    following.until_it_has(50_000)
    host.bed.kill_docker()
    host.bed.start_docker()
    host.bed.docker("kill", following.container_id, check=False)
    following.end()
    assert following.error is None
    assert following.is_whole()


def test_a_stopped_daemon_takes_its_containers_with_it(host: Host) -> None:
    """A daemon that is restarted as administrators do it ends the stream and the container."""
    following = Following(host, host.start(FOREVER, "--init", "--stop-timeout", "1")).start()
    following.until_it_has(50_000)
    host.bed.stop_docker()
    host.bed.start_docker()
    following.end()
    assert following.error is None
    assert following.is_whole()


def test_a_cable_that_is_pulled_loses_nothing(host: Host) -> None:
    """A network that is cut without a word is noticed, and the stream goes on when it is back."""
    following = Following(host, host.start(COUNTS)).start()
    following.until_it_has(20_000)
    host.bed.cut()
    host.bed.docker("wait", following.container_id)
    stands_at = following.size()
    assert stands_at < 300_000
    host.bed.heal()
    following.end()
    assert following.error is None
    assert numbered(following.log) == list(range(1, LINES + 1))


def test_sixteen_tasks_share_one_connection(host: Host) -> None:
    """More streams than sshd allows sessions go over one connection, and a drop hits all."""
    counts = COUNTS.replace(str(LINES), "1000")
    script = f"trap go=1 USR1; {counts} until [ $go ]; do usleep 50000; done; {counts}"
    followed = [Following(host, host.start(script), f"worker-{i}.1").start() for i in range(16)]
    for following in followed:
        following.until_it_has(8_000)
    host.bed.drop_ssh()
    host.bed.docker("kill", "--signal", "USR1", *(one.container_id for one in followed))
    for following in followed:
        following.end()
        assert following.error is None
        assert numbered(following.log) == 2 * list(range(1, 1001))
        assert following.is_whole()
    assert host.logins() == 2


def test_another_launcher_goes_on_where_a_killed_one_was(host: Host) -> None:
    """A launcher that is killed while it follows leaves files that the next one continues."""
    container_id = host.start(COUNTS)
    log = host.folder / "worker-0.1.log"
    argv = [sys.executable, "-c", FOLLOW_HERE, str(host.home), container_id, str(log)]
    for size_bytes in (20_000, 150_000):
        launcher = subprocess.Popen(argv)
        with _killed(launcher):
            until(
                lambda size=size_bytes: log.exists() and log.stat().st_size >= size,  # type: ignore[misc]
                "the log to grow",
            )
            until(Path(position_path(str(log))).exists, "the position")
    following = Following(host, container_id).start()
    following.end()
    assert following.error is None
    assert numbered(log) == list(range(1, LINES + 1))
    assert following.is_whole()


@contextlib.contextmanager
def _killed(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)


def test_what_is_complete_is_not_asked_for_again(host: Host) -> None:
    """A log that is home stays as it is when its container is gone."""
    container_id = host.start("echo out 1")
    Following(host, container_id).start().end()
    host.bed.docker("rm", container_id)
    again = Following(host, container_id).start()
    again.end()
    assert again.error is None
    assert numbered(again.log) == [1]


def test_a_host_that_stays_away_is_named(host: Host) -> None:
    """After `unreachable_s` the follower says so; what came is kept, and continued later."""
    following = Following(host, host.start(COUNTS))
    following.unreachable_s = 1
    following.start()
    following.until_it_has(20_000)
    host.bed.stop_sshd()
    host.bed.drop_ssh()
    following.end()
    assert "h1 " in str(following.error)
    assert "not followed any more; the containers keep them" in str(following.error)
    stands_at = following.size()
    assert stands_at >= 20_000
    host.bed.start_sshd()
    later = Following(host, following.container_id).start()
    later.end()
    assert later.error is None
    assert numbered(later.log) == list(range(1, LINES + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--log-driver", "none"), "cannot be read: its log driver keeps none that can"),
        (("--tty",), "cannot be followed"),
    ],
)
def test_a_log_that_cannot_be_followed_is_named(
    host: Host, options: tuple[str, ...], message: str
) -> None:
    """A container without a readable log, or with a terminal, is an error and not an empty log."""
    following = Following(host, host.start("echo out 1; sleep 1", *options)).start()
    following.end()
    assert str(following.error).startswith("h1: the log of container ")
    assert message in str(following.error)


def test_a_container_that_is_gone_is_named(host: Host) -> None:
    """Somebody removed a container under the follower: what had come is where it says."""
    following = Following(host, host.start(FOREVER)).start()
    following.until_it_has(20_000)
    host.bed.docker("rm", "--force", following.container_id)
    following.end()
    assert "is gone with the container" in str(following.error)
    assert str(following.log) in str(following.error)


def test_a_full_disk_here_is_no_failure_of_the_host(host: Host) -> None:
    """What cannot be written is the system's own error; where there is room again it goes on."""
    small = host.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=True)
    try:
        log = small / "worker-0.1.log"
        container_id = host.start(COUNTS)
        with pytest.raises(OSError, match="No space left"):
            LogFollower(host.engine, container_id, str(log), is_over=bool).run()
        subprocess.run(["mount", "-o", "remount,size=8m", small], check=True)
        LogFollower(host.engine, container_id, str(log), is_over=bool).run()
        assert is_whole(host, container_id, log)
    finally:
        subprocess.run(["umount", small], check=True)
