"""Why a socket cannot be opened, found out by a shell as an unprivileged user."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.ssh import Completed, socket_access


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can look into."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_nobody(command: str, stdin: bytes) -> Completed:
    done = subprocess.run(
        ["sh", "-c", command],
        input=stdin,
        capture_output=True,
        check=False,
        user="nobody",
        group="nogroup",
        extra_groups=(),
        cwd="/",
    )
    return Completed(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user_outside_the_docker_group(folder: Path) -> None:
    """Who may not use the socket is named, with the command that lets them."""
    path = folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        problem = socket_access.inspect(as_nobody, str(path)).problem
    assert f"the user nobody may not use {path}" in problem
    assert "sudo usermod -aG docker nobody" in problem
    assert "log in again" in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_folder_that_hides_the_socket(folder: Path) -> None:
    """A folder that the user may not look into is the same lack of rights."""
    hidden = folder / "run"
    hidden.mkdir(mode=0o700)
    problem = socket_access.inspect(as_nobody, f"{hidden}/docker.sock").problem
    assert "the user nobody may not use" in problem


def test_no_docker_at_all() -> None:
    """Neither socket nor command: Docker is to be installed."""
    answer = Completed(0, b"user=ml\n", b"")
    problem = socket_access.Access(answer, "/var/run/docker.sock").problem
    assert "install Docker" in problem
    assert "docker_socket" in problem


def test_engine_that_is_down() -> None:
    """A socket that is left while no engine answers: it is to be started."""
    said = b"user=ml\nexists=1\nsocket=1\nwritable=1\ndocker=1\nsystemd=1\n"
    problem = socket_access.Access(Completed(0, said, b""), "/s").problem
    assert problem == "no Docker engine answers at /s: start it again (sudo systemctl start docker)"


def test_host_without_a_shell() -> None:
    """A host that cannot run the question is not called fine."""
    assert socket_access.Access(Completed(127, b"", b"sh: not found"), "/s").problem
