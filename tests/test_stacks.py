"""Where a task hangs: who is asked for its stacks, who is read, and what is said of the others."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.backends import session
from launcher.engine import Engine, open_local
from launcher.markers import marker, parse
from launcher.stacks import HAS_HANDLER, Process, Stacks, Ways, announced, here, inside, ways
from tests.conftest import DEADLINE_S, until
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX, TENSORFLOW

OURS = Process(10, "S", HAS_HANDLER, "python3.11")
DEAF = Process(11, "S", 0, "python3")
SHELL = Process(9, "S", 0, "dash")
HANGS = """
import faulthandler, signal, threading
{register}
def waits_for_ever():
    threading.Event().wait()
print("hangs", flush=True)
waits_for_ever()
"""
REGISTER = "faulthandler.register(signal.SIGUSR1)"
PRINTED = "in waits_for_ever"
READ = "waits_for_ever ("

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program as a task is, with its output in a file, and waits for its first word."""
    started = []

    def begin(*argv: str, word: str = "hangs") -> subprocess.Popen[bytes]:
        log = tmp_path / "log"
        with log.open("ab") as file:
            process = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
        started.append(process)
        until(lambda: word in log.read_text(), "the program's first word")
        return process

    yield begin
    for process in started:
        session.send(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)


def test_only_those_that_said_so_are_asked() -> None:
    """The signal goes to a process that announced it and has a handler; it would end others."""
    assert ways((SHELL, OURS), {10}, has_py_spy=True) == Ways(ask=(10,))
    assert ways((SHELL, OURS), set(), has_py_spy=True) == Ways(read=(10,))
    assert ways((SHELL, DEAF), {11}, has_py_spy=True) == Ways(read=(11,))
    assert ways((SHELL,), {9}, has_py_spy=False).ask == ()


def test_the_stopped_are_not_asked() -> None:
    """A stopped process runs no handler: it is read, or said to be stopped."""
    stopped = OURS._replace(state="T")
    assert ways((stopped,), {10}, has_py_spy=True) == Ways(read=(10,))
    (problem,) = ways((stopped,), {10}, has_py_spy=False).problems
    assert problem == "process 10 is stopped (SIGSTOP): only py-spy could read it"


def test_why_not() -> None:
    """Where no stacks can be had, one line says why; a child of one that tells needs none."""
    assert ways((DEAF,), (), has_py_spy=False).problems == (
        "process 11 does not print its stacks, and there is no py-spy",
    )
    assert ways((SHELL,), (), has_py_spy=True).problems == ("no Python process lives in it",)
    assert ways((), (), has_py_spy=True).problems == ("no Python process lives in it",)
    assert ways((OURS._replace(state="Z"),), {10}, has_py_spy=True).ask == ()
    assert ways((OURS, DEAF), {10}, has_py_spy=False) == Ways(ask=(10,))
    (told,) = ways((OURS._replace(state="D"),), {10}, has_py_spy=False).problems
    assert "waits in the kernel" in told


def test_the_marker() -> None:
    """A process announces itself by a marker; nothing else makes it one that may be asked."""
    said = parse(marker("dumps", signal="SIGUSR1", pid=7))
    assert said is not None and announced(said) == 7
    for fields in ({"kind": "ready", "pid": 7}, {"kind": "dumps", "signal": "SIGUSR1", "pid": "7"},
                   {"kind": "dumps", "signal": "SIGTERM", "pid": 7},
                   {"kind": "dumps", "signal": "SIGUSR1", "pid": -1}):  # fmt: skip
        assert announced(fields) is None


def test_asked(start: Start, tmp_path: Path) -> None:
    """A process that can prints its stacks into its own log, and lives on; its shell is left be."""
    script = tmp_path / "hangs.py"
    script.write_text(f"import os; print('pid', os.getpid())\n{HANGS.format(register=REGISTER)}")
    leader = start("sh", "-c", f"{sys.executable} {script}; :")
    log = tmp_path / "log"
    pid = int(log.read_text().split()[1])
    assert pid != leader.pid
    assert here.dump(leader.pid, {pid}) == Stacks()
    until(lambda: PRINTED in log.read_text(), "stacks in the log")
    assert leader.poll() is None


def test_a_process_elsewhere_is_never_asked(start: Start, tmp_path: Path) -> None:
    """A marker that names a process of somebody else reaches nobody."""
    other = start("sleep", "1000", word="")
    ours = start(sys.executable, "-c", HANGS.format(register=REGISTER))
    here.dump(ours.pid, {other.pid})
    assert other.poll() is None


def test_read(start: Start, tmp_path: Path) -> None:
    """A process that cannot be asked is read by py-spy; it does not notice."""
    process = start(sys.executable, "-c", HANGS.format(register=""))
    found = here.dump(process.pid, {process.pid})
    assert READ in found.text
    assert found.problems == ()
    assert process.poll() is None
    assert PRINTED not in (tmp_path / "log").read_text()


def test_a_stopped_process(start: Start) -> None:
    """A process that was stopped is read where it stands, and stays stopped."""
    process = start(sys.executable, "-c", HANGS.format(register=REGISTER))
    process.send_signal(signal.SIGSTOP)
    until(lambda: state(process.pid) == "T", "the stop")
    found = here.dump(process.pid, {process.pid})
    assert READ in found.text
    assert state(process.pid) == "T"


def test_a_stopped_process_without_py_spy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py-spy a stopped process is said to be stopped."""
    process = start(sys.executable, "-c", HANGS.format(register=REGISTER))
    process.send_signal(signal.SIGSTOP)
    until(lambda: state(process.pid) == "T", "the stop")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    (problem,) = here.dump(process.pid, {process.pid}).problems
    assert problem == f"process {process.pid} is stopped (SIGSTOP): only py-spy could read it"


def test_nothing_left(start: Start) -> None:
    """Of a task that has ended nothing can be had, and that is said."""
    assert here.dump(2**22 - 1).problems == ("no Python process lives in it",)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.testbed
def test_in_a_container(tensorflow_testbed: Testbed) -> None:
    """In a container who can is asked; for the others, and where there is no shell, one line."""
    host = tensorflow_testbed.hosts[0]
    engine = Engine("h1", open_local, str(host.docker_socket))
    script = f"{HANGS.format(register=REGISTER)}"
    config = {"Image": TENSORFLOW, "Cmd": ["python", "-c", script], "HostConfig": {"Init": True}}
    made = engine.api.create_container_from_config(config)["Id"]
    engine.api.start(made)
    log: Callable[[], bytes] = lambda: engine.api.logs(made)  # noqa: E731
    until(lambda: b"hangs" in log(), "the program's first word")
    pid = _python_in(engine, made)
    (problem,) = inside.dump(engine, made).problems
    assert problem == f"process {pid} does not print its stacks, and there is no py-spy"
    assert inside.dump(engine, made, {pid}) == Stacks()
    until(lambda: PRINTED.encode() in log(), "stacks in the log")
    engine.api.pause(made)
    (problem,) = inside.dump(engine, made, {pid}).problems
    assert problem.startswith("h1: ") and "is paused" in problem
    engine.api.unpause(made)
    engine.api.remove_container(made, force=True)
    engine.close()


@pytest.mark.testbed
def test_in_a_container_without_python(testbed: Testbed) -> None:
    """A container in which no Python runs, or that has ended, is said to be so."""
    host = testbed.hosts[0]
    engine = Engine("h1", open_local, str(host.docker_socket))
    made = engine.api.create_container(BUSYBOX, ["sleep", "1000"])["Id"]
    engine.api.start(made)
    assert inside.dump(engine, made).problems == ("no Python process lives in it",)
    engine.api.kill(made)
    engine.api.wait(made)
    (problem,) = inside.dump(engine, made).problems
    assert problem.startswith("h1: ") and "is not running" in problem
    engine.api.remove_container(made, force=True)
    engine.close()


def _python_in(engine: Engine, container_id: str) -> int:
    made = engine.api.exec_create(container_id, ["sh", "-c", "pidof python || pgrep -f hangs"])
    told = engine.api.exec_start(made["Id"]).split()
    return int(told[0])
