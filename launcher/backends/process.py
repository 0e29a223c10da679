"""Tasks as plain processes on this machine.

Each attempt is the leader of a session and process group of its own, so that the terminal's ^C
does not reach it and all that it started can be ended together. It writes straight to its log
file: what it prints does not depend on the launcher being alive.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.container import Container
from launcher.errors import HostError, InputError, Problem
from launcher.facts import port_is_free
from launcher.lifecycle import Exited
from launcher.plan import Plan
from launcher.task import TaskId


def check(plan: Plan, fixed_ports: Mapping[TaskId, int]) -> None:
    """Refuse a plan that this machine cannot start.

    Raises:
        InputError: a program that is not there.
        HostError: a port of the file that is taken.
    """
    missing = sorted({c.argv[0] for c in plan.tasks if shutil.which(c.argv[0]) is None})
    if missing:
        raise InputError(Problem(program, "no such program here") for program in missing)
    taken = [f"{t} wants {p}" for t, p in fixed_ports.items() if not port_is_free(p)]
    if taken:
        raise HostError(f"ports that are taken on this machine: {', '.join(taken)}")


class ProcessBackend:
    """Starts attempts as processes; a thread each waits for the end."""

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self._plan = plan
        self._environ = {key: v for key, v in environ.items() if key != "TF_CONFIG"}
        self._lock = threading.Lock()
        self._processes: dict[TaskId, subprocess.Popen[bytes]] = {}  # those not reaped yet

    def start(self, container: Container, attempt: int, log_path: str) -> None:
        """Start an attempt as a process. Raises HostError when it cannot be."""
        try:
            Path(container.output_dir, "logs").mkdir(parents=True, exist_ok=True)
            with open(log_path, "ab") as log:
                process = subprocess.Popen(
                    container.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=container.work_dir,
                    env={**self._environ, **self._plan.env(container)},
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            raise HostError(f"{container.argv[0]} could not be started: {error}") from None
        with self._lock:
            self._processes[container.task] = process

    def watch(self, task: TaskId, attempt: int, on_exit: Callable[[Exited], None]) -> None:
        """Wait for a started attempt in a thread of its own."""
        wait = threading.Thread(
            target=self._wait, args=(task, attempt, on_exit), name=f"wait {task}", daemon=True
        )
        wait.start()

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Signal the whole process group of a task that lives."""
        with self._lock:
            process = self._processes.get(task)
            if process is not None:
                _signal_group(process.pid, signal.SIGKILL if kill else signal.SIGTERM)

    def _wait(self, task: TaskId, attempt: int, on_exit: Callable[[Exited], None]) -> None:
        process = self._processes[task]
        # The leader is left unreaped until its group is gone: its pid, the group's id, cannot be
        # given to another process before.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        at = time.monotonic()
        with self._lock:
            _signal_group(process.pid, signal.SIGKILL)
            del self._processes[task]
        on_exit(Exited(at, task, attempt, process.wait()))


def _signal_group(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)
