"""Tasks as processes: what surrounds them, how they end, and that nothing outlives them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue

import pytest

from launcher import config
from launcher.backends import session
from launcher.backends.process import ProcessBackend, check
from launcher.errors import HostError, InputError
from launcher.events import Exited, Lost, Started, StartFailed
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import Plan, plan
from launcher.task import CHIEF, TaskId
from tests.conftest import DEADLINE_S, Launching, until

FACTS = {"localhost": HostFacts((21000, 21001, 21002), ("0", "1"))}


def planned(folder: Path, *argv: str, text: str = "tasks: {chief: {}}") -> Plan:
    """Return a plan of `argv` on a cluster.yaml's text, with its run directory made."""
    spec = config.parse(text)
    (folder / "logs").mkdir(exist_ok=True)
    job = Job("job", None, argv, str(folder))
    return plan(spec, job, "run", FACTS, run_dir=str(folder), python="python3")


class Attempts:
    """Starts the chief of a plan and knows how it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backends: list[ProcessBackend] = []
        self.exits: SimpleQueue[Exited] = SimpleQueue()

    def start(self, *argv: str, environ: Mapping[str, str] = os.environ) -> ProcessBackend:
        made = planned(self.folder, *argv)
        backend = ProcessBackend(made, environ)
        self.backends.append(backend)
        backend.start(made.tasks[0], 1, made.log_path(CHIEF, 1), self._told)
        return backend

    def _told(self, event: Started | StartFailed | Exited | Lost) -> None:
        if isinstance(event, Exited):
            self.exits.put(event)

    def sh(self, script: str, environ: Mapping[str, str] = os.environ) -> ProcessBackend:
        return self.start("sh", "-c", script, environ=environ)

    def code(self) -> int:
        return self.exits.get(timeout=DEADLINE_S).code

    def log(self) -> str:
        return (self.folder / "logs/chief-0.1.log").read_text()

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.log(), f"{text!r} in the log")


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    """Attempts that are killed afterwards."""
    made = Attempts(tmp_path)
    try:
        yield made
    finally:
        for backend in made.backends:
            backend.stop(CHIEF, kill=True)
            until(lambda b=backend: not b._processes, "the end of what was started")  # type: ignore[misc]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_surroundings(attempts: Attempts) -> None:
    """A task leads a session of its own, reads nothing, and Python writes unbuffered."""
    script = (
        "import os, sys; print(os.getpid() == os.getsid(0) == os.getpgid(0));"
        "print(os.readlink('/proc/self/fd/0'), os.environ['PYTHONUNBUFFERED'],"
        " sys.stdin.read() == '')"
    )
    attempts.start("python3", "-c", script)
    assert attempts.code() == 0
    assert attempts.log() == "True\n/dev/null 1 True\n"


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", -9), ("kill -15 $$", -15)],
)
def test_exit_codes(attempts: Attempts, script: str, code: int) -> None:
    """An exit code is reported as it is, a signal as its negative number."""
    attempts.sh(script)
    assert attempts.code() == code


def test_sigterm_reaches_everything(attempts: Attempts) -> None:
    """SIGTERM reaches what a task has started too."""
    inner = "trap 'echo inner; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    backend = attempts.sh(f'trap "wait; exit 4" TERM; (sh -c "{inner}") & wait; wait')
    attempts.wait_for("up")
    backend.stop(CHIEF, kill=False)
    assert attempts.code() == 4
    assert "inner" in attempts.log()


def test_sigterm_reaches_other_process_groups(attempts: Attempts) -> None:
    """What stands in a process group of its own (as under timeout) is reached and ended too."""
    backend = attempts.sh("timeout 100 sh -c 'echo $$; exec sleep 100'; echo after")
    attempts.wait_for("\n")
    pid = int(attempts.log())
    backend.stop(CHIEF, kill=False)
    attempts.code()
    assert is_gone(pid)


def test_sigkill_ends_grandchildren(attempts: Attempts) -> None:
    """SIGKILL ends a task with its grandchildren, whatever they ignore; then it has ended."""
    script = "trap '' TERM; sh -c 'sh -c \"echo \\$\\$; exec sleep 100\"; :'; :"
    backend = attempts.sh(script)
    attempts.wait_for("\n")
    pid = int(attempts.log())
    backend.stop(CHIEF, kill=False)
    backend.stop(CHIEF, kill=True)
    assert attempts.code() == -signal.SIGKILL
    assert is_gone(pid)


def test_what_a_task_leaves_is_ended(attempts: Attempts) -> None:
    """What a task that ends by itself leaves behind is gone when its end is told."""
    attempts.sh("sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 100' & "
                "while [ ! -s logs/chief-0.1.log ]; do sleep 0.01; done; exit 3")  # fmt: skip
    assert attempts.code() == 3
    assert is_gone(int(attempts.log()))


def test_a_stopped_shell_leaves_its_trainer_the_grace(attempts: Attempts) -> None:
    """A shell dies of SIGTERM at once; the trainer that it runs may still save, then it ends."""
    save = "trap 'sleep 0.3; echo saved; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    backend = attempts.sh(f'sh -c "{save}"; echo never')
    attempts.wait_for("up")
    backend.stop(CHIEF, kill=False)
    assert attempts.code() == -signal.SIGTERM
    assert attempts.log().endswith("saved\n")


def test_environment(attempts: Attempts) -> None:
    """The launcher's environment reaches the task, but never its own TF_CONFIG."""
    environ = {**os.environ, "TF_CONFIG": "leaked", "MINE": "a b"}
    attempts.sh('echo "$MINE"; echo "$TF_CONFIG"; echo "<$CUDA_VISIBLE_DEVICES>"', environ)
    assert attempts.code() == 0
    mine, tf_config, devices = attempts.log().splitlines()
    assert mine == "a b"
    assert '"task": {"type": "chief", "index": 0}' in tf_config
    assert devices == "<>"


def test_single_has_no_tf_config(launching: Launching) -> None:
    """`--single` shows its task no TF_CONFIG, not even that of the launcher's environment."""
    launching.env["TF_CONFIG"] = '{"cluster": {"worker": ["a:1"]}}'
    done = launching.run("--single", "--", "sh", "-c", 'echo "<${TF_CONFIG-none}>"')
    assert done.code == 0, done.err
    assert launching.log("chief-0") == b"<none>\n"


def test_gpus_are_those_of_the_plan(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES holds just the ids that the plan gives a task."""
    text = "hosts: {localhost: {address: 127.0.0.1, gpus: [3, 5]}}\n"
    text += "tasks: {chief: {gpus: 1}, worker: {gpus: 1}, evaluator: {}}"
    made = planned(tmp_path, "true", text=text)
    given = [made.env(container)["CUDA_VISIBLE_DEVICES"] for container in made.tasks]
    assert given == ["3", "5", ""]


def test_programs_are_looked_for_first(tmp_path: Path) -> None:
    """What cannot be run is said before anything is started, with the reason."""
    (tmp_path / "script.sh").write_text("#!/bin/sh\n")
    cases = {
        "no-such-program": "no such program here",
        str(tmp_path / "script.sh"): "not executable",
        str(tmp_path): "a folder",
        str(tmp_path / "none"): "no such program here",
        "": "no such program here",
    }
    for program, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            check(planned(tmp_path, program), {})


def test_programs_are_found_on_the_tasks_path(tmp_path: Path) -> None:
    """A program is looked for where the task itself will look: on the file's PATH."""
    program = tmp_path / "bin/only-here"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = f"tasks: {{chief: {{}}}}\nenv: {{PATH: '{program.parent}'}}"
    check(planned(tmp_path, "only-here", text=text), {})


def test_taken_ports_are_named(tmp_path: Path) -> None:
    """A port of the file that somebody holds is named with the task that wants it."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HostError, match=f"chief:0 wants {port}"):
            check(planned(tmp_path, "true"), {CHIEF: port})


def test_what_cannot_be_executed(tmp_path: Path) -> None:
    """A program that the kernel refuses is told, not raised as an exception of the library."""
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    made = planned(tmp_path, str(program))
    told: list[object] = []
    ProcessBackend(made, {}).start(made.tasks[0], 1, made.log_path(CHIEF, 1), told.append)
    assert isinstance(told[0], StartFailed)
    assert "could not be started" in told[0].reason


def test_stopping_the_ended_does_nothing(attempts: Attempts) -> None:
    """A stop for a task that has ended, or was never started, is left alone."""
    backend = attempts.sh("exit 0")
    assert attempts.code() == 0
    backend.stop(CHIEF, kill=True)
    backend.stop(TaskId.parse("worker:3"), kill=False)


def test_ignored_sigchld(launching: Launching) -> None:
    """A launcher that was started with SIGCHLD ignored learns exit codes all the same."""

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    done = launching.run("--single", "--", "sh", "-c", "exit 3", preexec_fn=ignore)
    assert done.code == 1
    assert launching.report()["tasks"][0]["exit_code"] == 3


def test_ends_at_once(tmp_path: Path) -> None:
    """Attempts that end at the same moment are each told once."""
    made = planned(tmp_path, "true", text="tasks: {worker: {count: 3}}")
    backend = ProcessBackend(made, os.environ)
    seen: list[TaskId] = []
    lock = threading.Lock()

    def told(event: Started | StartFailed | Exited | Lost) -> None:
        with lock:
            if isinstance(event, Exited):
                seen.append(event.task)

    ended: Callable[[int], bool] = lambda count: len(seen) == count  # noqa: E731
    for attempt in range(1, 8):
        for container in made.tasks:
            backend.start(container, attempt, made.log_path(container.task, attempt), told)
        until(lambda n=attempt: ended(3 * n), "three ends more")  # type: ignore[misc]
    assert sorted(seen) == sorted(7 * [container.task for container in made.tasks])


def test_session_groups() -> None:
    """A session's groups are found; one that does not exist has none."""
    assert os.getpgid(0) in session.groups(os.getsid(0))
    assert session.groups(2**30) == frozenset()


def test_exit_is_told_quickly(attempts: Attempts) -> None:
    """The end of a task that leaves nothing behind is told without a pause."""
    began = time.monotonic()
    attempts.sh("exit 0")
    exited = attempts.exits.get(timeout=DEADLINE_S)
    assert exited.at - began < 2


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group that allows its processes 300 MB, made where this user may make one."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", root, f"launch-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text("300000000")
                yield group
                return
        finally:
            until(lambda g=group: is_removed(g), "the end of the group")  # type: ignore[misc]
    pytest.skip("needs a user who may make control groups with a memory limit")


def is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def test_killed_for_lack_of_memory(launching: Launching, small_memory: Path) -> None:
    """What the kernel killed for lack of memory is told from what was merely killed."""

    def enter() -> None:
        (small_memory / "cgroup.procs").write_text(str(os.getpid()))

    launching.cluster("tasks: {chief: {}}\nrestarts: {max: 0}\n")
    hungry = "python3", "-c", "x = b'x' * 10**9; print('never')"
    done = launching.run("--", *hungry, preexec_fn=enter)
    assert done.code == 1
    (task,) = launching.report()["tasks"]
    assert task["exit_code"] == -9
    assert task["reason"] == "killed by the kernel for lack of memory"


def test_killed_for_no_lack_of_memory(attempts: Attempts) -> None:
    """SIGKILL alone is not taken for lack of memory."""
    attempts.sh("kill -9 $$")
    exited = attempts.exits.get(timeout=DEADLINE_S)
    assert (exited.code, exited.reason) == (-9, "")
