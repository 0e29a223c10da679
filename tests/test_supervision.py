"""Who supervises a run: one process at a time, and nobody once it has ended."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.supervision import HOLDER_NAME, Holder, hold, holder

_HOLD = (
    "import sys; from launcher.supervision import hold\n"
    "with hold(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()\n"
)


def _other(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that supervises a run until its stdin ends; returns once it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_who_holds_a_run_is_known(tmp_path: Path) -> None:
    """While a run is supervised its holder is named by process, machine and time."""
    assert holder(tmp_path) is None
    with hold(tmp_path) as me:
        assert holder(tmp_path) == me
        assert me.pid == os.getpid() and me.host and me.started
        assert json.loads((tmp_path / HOLDER_NAME).read_text()) == me._asdict()
    assert holder(tmp_path) is None


def test_two_never_hold_a_run(tmp_path: Path) -> None:
    """A second supervisor is refused, and told who the first one is."""
    other = _other(tmp_path)
    try:
        with pytest.raises(HostError, match=f"process {other.pid} on .* supervises it"):
            hold(tmp_path).__enter__()
        assert (who := holder(tmp_path)) and who.pid == other.pid
    finally:
        _end(other)


def test_the_killed_let_go(tmp_path: Path) -> None:
    """What a killed supervisor left behind keeps nobody from taking over."""
    other = _other(tmp_path)
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    assert (tmp_path / HOLDER_NAME).exists()
    assert holder(tmp_path) is None
    with hold(tmp_path) as me:
        assert holder(tmp_path) == me


def test_what_a_supervisor_starts_does_not_hold(tmp_path: Path) -> None:
    """A task that outlives its supervisor keeps no lock."""
    with hold(tmp_path):
        task = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    try:
        assert holder(tmp_path) is None
    finally:
        task.kill()
        task.communicate()


def test_a_reader_never_keeps_a_supervisor_out(tmp_path: Path) -> None:
    """Asking who holds a run, over and over, hinders nobody from holding it."""
    (tmp_path / "supervisor.lock").touch()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            holder(tmp_path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            with hold(tmp_path):
                pass
    finally:
        over.set()
        asking.join()


def test_without_locks_the_process_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without locks a run is held by who said so, as long as it lives."""

    def no_locks(_file: int, _what: int) -> None:  # a fake: no such file system is at hand
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with hold(tmp_path) as me:
        assert holder(tmp_path) == me
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / HOLDER_NAME).write_text(json.dumps(me._replace(pid=gone.pid)._asdict()))
    assert holder(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_torn_file_names_nobody(tmp_path: Path, text: str) -> None:
    """A run that is held by somebody who cannot be read is held all the same."""
    with hold(tmp_path):
        (tmp_path / HOLDER_NAME).write_text(text)
        assert holder(tmp_path) == Holder()
        assert str(holder(tmp_path)) == "another process"
