"""Tasks as steps of the Slurm job in which this runs: an srun for each attempt.

srun brings what a task prints to the log file, and tells how it ended; the task itself lives under
its node's slurmd, which ends all that is left of it. What a step's first line says is its number,
by which the task is signalled.
"""

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from launcher import event_files, markers
from launcher.at_once import attempts
from launcher.backends import Homecoming, Report, oom
from launcher.container import Container
from launcher.errors import HostError
from launcher.events import Exited, Lost, Started, StartFailed
from launcher.logs import last_lines
from launcher.plan import Plan
from launcher.platforms.slurm.allocation import Allocation
from launcher.platforms.slurm.commands import run
from launcher.platforms.slurm.step import BEGUN, SRUN, Places
from launcher.stacks import Stacks
from launcher.task import TaskId

_POLL_S = 0.02
_LINE_BYTES = 1 << 12  # of a log's beginning, for the step's own line
_CONNECT_S = 1.0
_ASK_AGAIN_S = 0.5
_KILLED_S = 30.0  # how long Slurm may take to kill a step before its srun is given up
_LAST_LINES = 20
_NODE_LOST = re.compile(r"srun: error: .*(Node failure on \S+|node fail)", re.IGNORECASE)
_NO_STEP = re.compile(r"^(srun|slurmstepd[^:]*): (error: )?")


class _Step:
    """A step of which the srun lives; `number` is empty until its task has begun."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.number = ""
        self.was_asked = False


class StepBackend:
    """Starts attempts as steps; a thread each waits for the end."""

    def __init__(self, places: Places, allocation: Allocation) -> None:
        self._places = places
        self._allocation = allocation
        self._lock = threading.Lock()
        self._steps: dict[TaskId, _Step] = {}
        self._is_over = False
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def start(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Start an attempt as a step, and attend it in a thread of its own."""
        task = container.task
        try:
            step = self._start(container, attempt, log_path)
        except HostError as error:
            report(StartFailed(time.monotonic(), task, attempt, str(error)))
            return
        threading.Thread(
            target=self._attend, args=(step, task, attempt, log_path, report),
            name=f"step {task}", daemon=True,
        ).start()  # fmt: skip

    def adopt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Say that it cannot be: a job's steps end with its launcher."""
        why = "a step of a job that has ended"
        report(StartFailed(time.monotonic(), container.task, attempt, why))

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Ask a task to end, or have Slurm kill all of its step."""
        with self._lock:
            step = self._steps.get(task)
        if step is None:
            return
        step.was_asked = True
        if kill or not step.number:
            threading.Thread(target=self._kill, args=(step,), daemon=True).start()
        else:
            threading.Thread(target=self._ask, args=(step,), daemon=True).start()

    def listening(self, containers: Sequence[Container]) -> Collection[TaskId]:
        """Return those of the tasks whose port accepts connections."""
        found = attempts(containers, _answers)
        return {c.task for c, answer in zip(containers, found, strict=True) if answer is True}

    def stacks(self, task: TaskId, announced: Collection[int]) -> Stacks:
        """Have a task that said so print its stacks into its log."""
        container = next(c for c in self._places.plan.tasks if c.task == task)
        if not announced:
            return Stacks(problems=(f"on {container.host}, and does not print its stacks",))
        signalling = [*SRUN, "--nodes=1", "--ntasks=1", f"--nodelist={container.host}", "/bin/sh",
                      "-c", f"kill -s USR1 {' '.join(map(str, announced))}"]  # fmt: skip
        try:
            run(signalling, self._allocation.environ)
        except HostError as error:
            return Stacks(problems=(str(error),))
        return Stacks()

    def event_files_age_s(self) -> float | None:
        """Return how long ago an event file of a living task grew; all nodes see it."""
        plan = self._places.plan
        living = [c for c in plan.tasks if c.task in self._steps]
        return event_files.age_here_s({c.output_dir for c in living} | {plan.checkpoint_dir})

    def follow_plan(self, plan: Plan) -> None:
        """From now on start tasks as this plan of the same run says."""
        self._places = self._places._replace(plan=plan)

    def start_no_more(self) -> None:
        """Let the srun of every step that has not begun end."""
        self._is_over = True
        with self._lock:
            waiting = [step for step in self._steps.values() if not step.number]
        for step in waiting:
            step.process.terminate()

    def finish(self) -> Homecoming:
        """Return at once: tasks write their results where they belong."""
        return Homecoming()

    def hurry(self) -> None:
        """Nothing to do: `finish` takes no time."""

    def _start(self, container: Container, attempt: int, log_path: str) -> _Step:
        if self._is_over:
            raise HostError("the run ended before this task was started")
        argv = self._places.argv(container, attempt)
        env = {**self._allocation.environ, **self._places.env(container)}
        try:
            Path(container.output_dir, "logs").mkdir(parents=True, exist_ok=True)
            with open(log_path, "wb") as log:
                # In a session of its own: signals to the launcher's group are not for srun.
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env=env, start_new_session=True,
                )  # fmt: skip
        except (OSError, ValueError) as error:
            raise HostError(f"srun could not be started: {error}") from None
        step = _Step(process)
        with self._lock:
            self._steps[container.task] = step
        return step

    def _attend(
        self, step: _Step, task: TaskId, attempt: int, log_path: str, report: Report
    ) -> None:
        give_up_at = time.monotonic() + self._places.plan.timeouts.start_s
        while not (number := _begun(log_path)) and step.process.poll() is None:
            time.sleep(_POLL_S)
            if time.monotonic() > give_up_at:  # Slurm has no room for it, and would try on
                self._kill(step)
        if not (number := number or _begun(log_path)):
            with self._lock:
                del self._steps[task]
            why = _why_not(log_path, step.process.wait())
            report(StartFailed(time.monotonic(), task, attempt, why))
            return
        step.number = number
        report(Started(time.monotonic(), task, attempt))
        code = _with_signal(step.process.wait())
        at = time.monotonic()
        with self._lock:
            del self._steps[task]
        lines = last_lines(log_path, _LAST_LINES) if code and not step.was_asked else ()
        if lost := next((line for line in lines if _NODE_LOST.search(line)), None):
            report(Lost(at, task, attempt, _NO_STEP.sub("", lost)))
            return
        is_oom = any("oom-kill" in line or "oom_kill" in line for line in lines)
        report(Exited(at, task, attempt, code, oom.REASON if is_oom else ""))

    def _kill(self, step: _Step) -> None:
        """Have srun kill its step, as it does at SIGTERM; give it up where that takes too long."""
        step.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            step.process.wait(_KILLED_S)
            return
        step.process.kill()

    def _ask(self, step: _Step) -> None:
        """Have a step's shell ask its task to end, until it does.

        srun passes SIGUSR2 on, also in a job that Slurm is ending. Where that would reach the
        task too, it is SIGURG, by slurmctld: srun does not take that.
        """
        number = f"{self._allocation.job_id}.{step.number}"
        while step.process.poll() is None:
            if self._allocation.spares:
                step.process.send_signal(signal.SIGUSR2)
            else:
                with contextlib.suppress(HostError):  # it may have ended just now
                    run(["scancel", "--signal=URG", number], self._allocation.environ)
            with contextlib.suppress(subprocess.TimeoutExpired):
                step.process.wait(_ASK_AGAIN_S)


def _begun(log_path: str) -> str:
    """Return the number of the step whose log it is, empty before its task has begun."""
    try:
        with open(log_path, "rb") as log:
            lines = log.read(_LINE_BYTES).splitlines(keepends=True)
    except OSError:  # its srun, at least, will end
        return ""
    for line in lines:
        fields = markers.parse(line) if line.endswith(b"\n") else None
        if fields and fields.get("kind") == BEGUN:
            return str(fields.get("id"))
    return ""


def _why_not(log_path: str, code: int) -> str:
    lines = [_NO_STEP.sub("", line) for line in last_lines(log_path, _LAST_LINES)]
    return "; ".join(lines[-2:]) or f"srun ended with {code}"


def _with_signal(code: int) -> int:
    """Return -N for what signal N ended: the step's shell, as any, says 128 + N."""
    return 128 - code if 128 < code <= 128 + 64 else code


def _answers(container: Container) -> bool:
    try:
        socket.create_connection(
            (container.address.host, container.address.port), _CONNECT_S
        ).close()
    except OSError:
        return False
    return True
