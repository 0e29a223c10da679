"""Tasks as plain processes on this machine.

Each attempt is the leader of a session of its own, so that the terminal's ^C does not reach it
and all that it started can be ended together. It writes straight to its log
file: what it prints does not depend on the launcher being alive.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from launcher import event_files, orphans, ports
from launcher.backends import Homecoming, Report, oom, session
from launcher.container import Container
from launcher.errors import HostError, InputError, Problem
from launcher.events import Exited, Started, StartFailed
from launcher.facts import port_is_free
from launcher.plan import Plan
from launcher.stacks import Stacks, here
from launcher.task import TaskId

_POLL_S = 0.02
_KILLED = (-9, 137)  # by SIGKILL, itself or what its shell ran
_KILLED_S = 1.0  # how long the killed may take to be gone; one stuck in the kernel may stay


def check(plan: Plan, fixed_ports: Mapping[TaskId, int]) -> None:
    """Refuse a plan that this machine cannot start.

    Raises:
        InputError: a program that is not there.
        HostError: a port of the file that is taken.
    """
    problems = {c.argv[0]: problem for c in plan.tasks if (problem := _program_problem(c))}
    if problems:
        raise InputError(Problem(program or "''", what) for program, what in problems.items())
    taken = [f"{t} wants {p}" for t, p in fixed_ports.items() if not port_is_free(p)]
    if taken:
        raise HostError(f"ports that are taken on this machine: {', '.join(taken)}")


def _program_problem(container: Container) -> str:
    """Return why a task's program cannot be run, or nothing."""
    program = container.argv[0]
    if shutil.which(program, path=container.env.get("PATH")) is not None:
        return ""
    if "/" in program and os.path.isdir(program):
        return "a folder; expected a program"
    if "/" in program and os.path.exists(program):
        return "not executable; expected a program (chmod +x makes a script one)"
    return "no such program here"


class ProcessBackend:
    """Starts attempts as processes; a thread each waits for the end.

    keep_open: gives the files of ours that a task's process keeps open.
    """

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str],
        keep_open: Callable[[Container], tuple[int, ...]] = lambda _: (),
    ) -> None:
        self._plan = plan
        self._keep_open = keep_open
        self._environ = {key: v for key, v in environ.items() if key != "TF_CONFIG"}
        self._lock = threading.Lock()
        self._processes: dict[TaskId, subprocess.Popen[bytes]] = {}  # those not reaped yet
        self._asked: set[TaskId] = set()  # those of them that were asked to end
        self._is_over = threading.Event()
        self._lease = f"{plan.run_dir}/lease"
        period_s = orphans.period_s(plan.timeouts)
        if period_s is not None:
            threading.Thread(
                target=self._renew, args=(period_s,), name="lease", daemon=True
            ).start()
        # Where it is ignored (some daemons leave it so) no exit code would ever reach us.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def start(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Start an attempt as a process, and wait for its end in a thread of its own."""
        task = container.task
        oom_kills = oom.kills()
        try:
            self._start(container, log_path)
        except HostError as error:
            report(StartFailed(time.monotonic(), task, attempt, str(error)))
            return
        report(Started(time.monotonic(), task, attempt))
        wait = threading.Thread(
            target=self._wait, args=(task, attempt, oom_kills, report), name=f"wait {task}",
            daemon=True,
        )  # fmt: skip
        wait.start()

    def listening(self, containers: Sequence[Container]) -> Collection[TaskId]:
        """Return those of the tasks whose port is open."""
        text = ""
        for table in ports.TABLES:
            with contextlib.suppress(OSError):
                text += Path(table).read_text()
        opened = ports.local_ports(text.splitlines(), ports.LISTENING)
        return {c.task for c in containers if c.address.port in opened}

    def stacks(self, task: TaskId, announced: Collection[int]) -> Stacks:
        """Return where a task is; what can say so itself says it in its log."""
        process = self._processes.get(task)
        return here.dump(process.pid, announced) if process else Stacks()

    def event_files_age_s(self) -> float | None:
        """Return how long ago an event file of a task that lives last grew."""
        living = [c for c in self._plan.tasks if c.task in self._processes]
        folders = {c.output_dir for c in living} | {self._plan.checkpoint_dir}
        return event_files.age_here_s(folders)

    def follow_plan(self, plan: Plan) -> None:
        """From now on start tasks as this plan of the same run says."""
        self._plan = plan

    def adopt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Say that it cannot be: how a process ended is told to the one who started it alone."""
        why = "a process of a launcher that is gone; launch resume starts it again"
        report(StartFailed(time.monotonic(), container.task, attempt, why))

    def start_no_more(self) -> None:
        """Nothing to do: a start takes no time."""

    def finish(self) -> Homecoming:
        """Return at once: processes write their results where they belong."""
        self._is_over.set()
        return Homecoming()

    def hurry(self) -> None:
        """Nothing to do: `finish` takes no time."""

    def _start(self, container: Container, log_path: str) -> None:
        try:
            Path(container.output_dir, "logs").mkdir(parents=True, exist_ok=True)
            with open(log_path, "ab") as log:
                process = subprocess.Popen(
                    orphans.watched(container.argv, self._plan.timeouts, self._lease, group=True),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=container.work_dir,
                    env={**self._environ, **self._plan.env(container)},
                    start_new_session=True,
                    pass_fds=self._keep_open(container),
                )
        except (OSError, ValueError) as error:
            raise HostError(f"{container.argv[0]} could not be started: {error}") from None
        with self._lock:
            self._processes[container.task] = process

    def _renew(self, period_s: float) -> None:
        """Tell the tasks again and again that their launcher lives, until none does any more."""
        while not self._is_over.is_set():
            with contextlib.suppress(OSError):  # on a full disk, say
                new = Path(f"{self._lease}.new")
                new.write_text(f"{time.monotonic_ns()}\n")
                new.replace(self._lease)
            self._is_over.wait(period_s)
        with contextlib.suppress(OSError):
            os.unlink(self._lease)

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Signal all that a task that lives has started."""
        with self._lock:
            process = self._processes.get(task)
            if process is not None:
                self._asked.add(task)
                session.send(process.pid, signal.SIGKILL if kill else signal.SIGTERM)

    def _wait(self, task: TaskId, attempt: int, oom_kills: int, report: Report) -> None:
        process = self._processes[task]
        # The leader is left unreaped until its session is empty: its pid, the session's id,
        # cannot be given to another process before.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._end_rest(task, process.pid)
        at = time.monotonic()
        with self._lock:
            del self._processes[task]
            was_asked = task in self._asked
            self._asked.discard(task)
            code = process.wait()
        is_oom = code in _KILLED and not was_asked and oom.kills() > oom_kills
        report(Exited(at, task, attempt, code, oom.REASON if is_oom else ""))

    def _end_rest(self, task: TaskId, pid: int) -> None:
        """Return when nothing is left of an attempt whose leader has ended.

        What a leader that ended by itself left behind is killed. Where the task was asked to
        end, the rest keeps its grace: a shell dies of SIGTERM at once, while the trainer that it
        runs still saves its checkpoint.
        """
        while task in self._asked and session.groups(pid):
            time.sleep(_POLL_S)
        give_up_at = time.monotonic() + _KILLED_S
        while session.groups(pid) and time.monotonic() < give_up_at:
            session.send(pid, signal.SIGKILL)
            time.sleep(_POLL_S / 10)
