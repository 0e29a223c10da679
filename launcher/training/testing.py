"""A cluster of real processes on this machine, to test a training script under a strategy.

    with Processes(["chief:0", "worker:0"], directory) as cluster:
        cluster.start([sys.executable, "train.py"])
        assert cluster.wait("chief:0") == 0

Every task has its own TF_CONFIG, process group and output file. What is left at the end of the
block is killed. There are no sleeps to tune: one waits for a line of output or for an end.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from launcher.task import TaskId


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that nothing on this machine listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


class Processes:
    """The tasks of one cluster, each a process, by name (`worker:0`)."""

    def __init__(
        self,
        tasks: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 90.0,
    ) -> None:
        self.tasks = tuple(tasks)
        self.directory = directory
        self.env = dict(env or {})
        self.timeout_s = timeout_s
        ports = free_ports(len(self.tasks))
        self.addresses = {
            task: f"127.0.0.1:{port}" for task, port in zip(self.tasks, ports, strict=True)
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if error is not None:
            for task in self._running:
                error.add_note(f"--- {task}\n{self.output(task)[-3000:]}")

    def tf_config(self, task: str) -> str:
        """Return the TF_CONFIG of a task."""
        cluster: dict[str, list[str]] = {}
        for name in self.tasks:
            cluster.setdefault(name.partition(":")[0], []).append(self.addresses[name])
        task_type, _, index = task.partition(":")
        return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": int(index)}})

    def start(
        self, command: Sequence[str | Path], *tasks: str, env: Mapping[str, str] | None = None
    ) -> None:
        """Start the command as each of `tasks` (all by default); `{slug}` in it names the task."""
        for task in tasks or self.tasks:
            given = [str(word).replace("{slug}", TaskId.parse(task).slug) for word in command]
            environ = {**os.environ, "TF_CONFIG": self.tf_config(task), "PYTHONUNBUFFERED": "1"}
            with self._log(task).open("ab") as log:
                self._running[task] = subprocess.Popen(
                    given,
                    env={**environ, **self.env, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def wait(self, task: str) -> int:
        """Return the exit code of a task. Raises TimeoutError when it does not end in time."""
        try:
            return self._running[task].wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{task} did not end in {self.timeout_s:g} s") from None

    def wait_for(self, task: str, pattern: str) -> re.Match[str]:
        """Return the first match of a pattern in a task's output, once there is one.

        Raises:
            TimeoutError: when it does not come in time, or the task has ended without it.
        """
        deadline = time.monotonic() + self.timeout_s
        while True:
            ended = self._running[task].poll() is not None
            if match := re.search(pattern, self.output(task), re.MULTILINE):
                return match
            if ended or time.monotonic() > deadline:
                how = "ended" if ended else f"ran {self.timeout_s:g} s"
                raise TimeoutError(f"{task} {how} without printing {pattern!r}")
            time.sleep(0.02)

    def send(self, task: str, number: int) -> None:
        """Send a signal to a task's process."""
        self._running[task].send_signal(number)

    def kill(self, *tasks: str) -> None:
        """Kill tasks as a lost machine would, and wait until they are gone."""
        for task in tasks:
            os.killpg(self._running[task].pid, signal.SIGKILL)
            self._running[task].wait()

    def output(self, task: str) -> str:
        """Return all that a task has printed so far, over all its starts."""
        log = self._log(task)
        return log.read_text(errors="replace") if log.exists() else ""

    def _log(self, task: str) -> Path:
        return self.directory / f"{TaskId.parse(task).slug}.log"
