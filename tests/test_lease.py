"""Who supervises a run, as its chief's host tells it; this machine is the host."""

import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import claiming
from launcher.errors import HostError
from launcher.hosts import LocalSession
from launcher.lease import ChiefLease, Lease, Session, is_held
from launcher.ssh import Target
from launcher.ssh.settings import Config
from tests.conftest import until


def ask(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


def test_a_lease_is_seen_while_it_is_held() -> None:
    """Whoever looks sees it from then until it is given back, and does not take it by that."""
    run = f"test-{uuid.uuid4().hex}"
    assert is_held(run, ask) is False
    with Lease(run, "here", LocalSession).held(at_once=True):
        assert is_held(run, ask) is True
        with pytest.raises(HostError, match="supervises it"):
            Lease(run, "here", LocalSession).take()
        assert is_held(run, ask) is True
    until(lambda: is_held(run, ask) is False, "the lease to fall")


def test_a_file_that_a_power_cut_has_left_is_no_lease() -> None:
    """A file that nobody holds a lock on means nothing."""
    run = f"test-{uuid.uuid4().hex}"
    file = Path(f"/tmp/launch-{run}.lease")
    file.write_text("somebody\n")
    try:
        assert is_held(run, ask) is False
    finally:
        file.unlink()


def test_a_host_without_the_programs_cannot_tell() -> None:
    """Where there is no flock nobody holds a lease, whether a launcher lives or not."""
    assert is_held("run", lambda script: ask(f"PATH=/nowhere\n{script}")) is None


def host(folder: Path) -> Callable[[str], Session]:
    """Return what starts scripts on a host: this machine with a /tmp of its own."""
    folder.mkdir()
    return lambda script: LocalSession(script.replace("/tmp/", f"{folder}/"))


def test_a_lease_goes_where_the_chief_goes(tmp_path: Path) -> None:
    """Who reads on which host the chief is, before or after its move, finds the lease there."""
    hosts = {name: host(tmp_path / name) for name in ("h1", "h2", "h3")}
    run = f"test-{uuid.uuid4().hex}"

    def is_free(name: str) -> bool:
        other = Lease(run, name, hosts[name])
        try:
            other.take()
        except HostError as error:
            assert f"(process {os.getpid()}) supervises it" in str(error)
            return False
        other.give_back()
        return True

    with ChiefLease(run, hosts.__getitem__, pytest.fail).held("h1", at_once=True) as lease:
        assert [is_free(name) for name in hosts] == [False, True, True]
        lease.follow("h2")
        lease.follow("h1")
        lease.follow("h2")
        assert [is_free(name) for name in hosts] == [False, False, True]
    until(lambda: all(is_free(name) for name in hosts), "the leases to fall")


def test_who_finds_another_launcher_where_the_chief_goes(tmp_path: Path) -> None:
    """It is told, as one is whose run was taken up meanwhile, and starts nothing there."""
    hosts = {name: host(tmp_path / name) for name in ("h1", "h2")}
    run, lost = f"test-{uuid.uuid4().hex}", list[str]()
    with (
        Lease(run, "h2", hosts["h2"]).held(at_once=True),
        ChiefLease(run, hosts.__getitem__, lost.append).held("h1", at_once=True) as lease,
        pytest.raises(HostError, match="supervises it"),
    ):
        lease.follow("h2")
    assert len(lost) == 1 and "supervises it" in lost[0]


def test_a_user_whom_the_machine_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a number that has no name (as in many containers) the number stands for the user."""

    def getpwuid(uid: int) -> None:
        raise KeyError(uid)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    user, run = str(os.getuid()), f"test-{uuid.uuid4().hex}"
    assert claiming.owner().startswith(f"{user}@")
    assert Config(tmp_path).settings(Target("h1", "h1")).route.user == user
    told = pytest.raises(HostError, match=rf"{user} on .+ \(process {os.getpid()}\) supervises it")
    with Lease(run, "here", LocalSession).held(at_once=True), told:
        Lease(run, "here", LocalSession).take()


def test_a_session_that_was_closed_cannot_be_written_to() -> None:
    """It is as one that has ended: OSError, as for a thread that gives a sign of life just then."""
    session = LocalSession("cat")
    session.close()
    with pytest.raises(OSError, match="Broken pipe"):
        session.send(b".")
