"""One cell tried: a run begun, brought to where the fault is to come, broken, and watched."""

import contextlib
import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.chaos import faults, world
from tests.chaos.cells import OF_TASKS, Cell, Fault, When, Where
from tests.chaos.trainers import FAKE, Trainer
from tests.conftest import Launching, until
from tests.testbed import Testbed
from tests.testbed.python_image import PYTHON

ENDS_S = 90.0
_EARLY_STEPS = 300  # a server that left too early is missed after 10 s
_KILLED_S = 5.0


class Seen(NamedTuple):
    """What a cell led to.

    code: the exit code of the launcher that saw the run's end.
    recovered_s: from the fault until training went on, None where it did not.
    ended_s: from the fault until the launcher's end.
    """

    code: int
    told: str
    recovered_s: float | None
    ended_s: float


class Trial:
    """One run, with one fault."""

    def __init__(
        self, cell: Cell, user: Launching, bed: Testbed | None, trainer: Trainer = FAKE,
        image: str = PYTHON,
    ) -> None:  # fmt: skip
        self.cell = cell
        self.trainer = trainer
        self.user = user
        self.mark = uuid.uuid4().hex
        self._bed = bed
        self._told = ""
        self.saved_at = 0
        self.fill: Callable[[], None] = lambda: None
        self._held_until_failure = False
        self._released = {0}
        if cell.fault is Fault.EXIT_0 and cell.serves:
            self.trainer = trainer._replace(steps=_EARLY_STEPS)
        user.cluster(world.cluster_yaml(cell, bed, self.mark, image, trainer.slow))
        user.env["LAUNCH_UNREACHABLE_S"] = "4" if cell.fault in _LOSING else "60"

    def perform(self) -> Seen:
        """Run the cell to its end."""
        launcher = self._start(*self.trainer.command)
        self._await_moment()
        began = time.monotonic()
        before = self._last_step()
        launcher = self._break(launcher)
        recovered_s: float | None = None
        while launcher.poll() is None:
            if recovered_s is None and self._goes_on(before):
                recovered_s = time.monotonic() - began
            if self.cell.when is When.FORMING:
                self._release_late()
            assert time.monotonic() < began + ENDS_S, f"does not end: {self.events()[-5:]}"
            time.sleep(0.02)
        ended_s = time.monotonic() - began
        self._read(launcher)
        if recovered_s is None and self._goes_on(before):
            recovered_s = ended_s
        return Seen(launcher.returncode, self._told, recovered_s, ended_s)

    def log(self, task: str, attempt: int = 1) -> bytes:
        return self.user.log(task.replace(":", "-"), attempt)

    def events(self) -> list[dict[str, Any]]:
        """Return the run's events so far."""
        try:
            text = (self.user.run_dir() / "events.jsonl").read_text()
        except (OSError, ValueError):
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def outcome(self) -> str:
        """Return the run's outcome: as its report has it, else as the console told it."""
        with contextlib.suppress(OSError, ValueError):
            return str(self.user.report()["outcome"])
        told = re.findall(r"^\w+-[\w-]+: ([a-z ,]+) after ", self._told, re.MULTILINE)
        return str(told[-1]) if told else "refused"

    def steps_of(self, task: str, attempt: int, kind: str = "step") -> list[int]:
        """Return the steps that an attempt has told, in order; those of its checkpoints too."""
        found = []
        for line in self.log(task, attempt).splitlines():
            if line.startswith(b"@launch ") and b'"step"' in line and line.endswith(b"}"):
                fields = json.loads(line.removeprefix(b"@launch "))
                if fields["kind"] == kind:
                    found.append(int(fields["step"]))
        return found

    def attempts(self, task: str) -> list[int]:
        slug = task.replace(":", "-")
        logs = self.user.folder.glob(f"runs/*/logs/{slug}.*.log")
        numbers = {log.name.split(".")[1] for log in logs}  # a container has two logs an attempt
        return sorted(map(int, numbers))

    # the moment

    def _start(self, *words: str) -> "subprocess.Popen[str]":
        with (self.user.folder / "console.txt").open("ab") as out:
            return self.user.start(*words, stdout=out, stderr=out)

    def _read(self, launcher: "subprocess.Popen[str]") -> None:
        launcher.wait(ENDS_S)
        self._told = (self.user.folder / "console.txt").read_text(errors="replace")
        assert "Traceback" not in self._told, self._told

    def _await_moment(self) -> None:
        """Wait until the run stands where the fault is to come."""
        cell = self.cell
        if not cell.breaks_later:
            return
        if not cell.held:
            until(lambda: self._last_step() >= self.trainer.fault_step, "training", ENDS_S)
            return
        until(lambda: b"held" in self.log(cell.held), f"{cell.held} to begin", ENDS_S)
        others = {task for task in cell.members if task != cell.held}
        until(lambda: self._up() >= others, "the others to be up", ENDS_S)
        if cell.role == "evaluator" and cell.held != cell.target:
            until(lambda: b"waiting" in self.log(cell.target), "the evaluator", ENDS_S)

    def _up(self) -> set[str]:
        return {str(e["task"]) for e in self.events() if e["what"] == "Up"}

    def _last_step(self) -> int:
        numbers = self.attempts("chief:0")
        steps = self.steps_of("chief:0", numbers[-1]) if numbers else []
        return steps[-1] if steps else 0

    def _goes_on(self, before: int) -> bool:
        """Whether training goes on after the fault: beyond, or again in a later attempt."""
        numbers = self.attempts("chief:0")
        if len(numbers) > 1:
            return bool(self.steps_of("chief:0", numbers[-1]))
        return self._last_step() > before + 1

    # the fault

    def _break(self, launcher: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
        """Bring the fault; return the launcher that goes on with the run."""
        cell = self.cell
        if cell.fault in OF_TASKS:
            self._break_task()
        elif cell.fault is Fault.ATTACH:
            launcher.send_signal(signal.SIGKILL)
            launcher.wait(ENDS_S)
            if cell.where is Where.PROCESS:  # how those end is told to their parent alone
                return self._start("resume", self.user.run_dir().name)
            launcher = self._start("attach", self.user.run_dir().name)
            self._release()
        elif cell.fault is Fault.RESUME:
            launcher.send_signal(signal.SIGTERM)
            launcher.wait(ENDS_S)
            self._check_stopped(launcher.returncode)
            launcher = self._start("resume", self.user.run_dir().name)
        elif cell.fault is Fault.DISK:
            if cell.breaks_later:
                self.fill()
        elif cell.fault is Fault.SKEW:
            if cell.breaks_later:
                faults.send(self.mark, "worker:0", faults.SIGNALS[Fault.EXIT_1])
        else:
            assert self._bed is not None
            faults.break_host(cell, self._bed)
            if cell.fault in (Fault.CUT_SHORT, Fault.DROP_SSH):
                self._release()
            else:
                self._held_until_failure = True
        return launcher

    def _break_task(self) -> None:
        cell = self.cell
        if cell.fault in faults.SIGNALS:
            faults.send(self.mark, cell.target, faults.SIGNALS[cell.fault])
        elif cell.fault is Fault.REMOVED:
            assert self._bed is not None
            faults.remove(cell, self._bed, self.user.run_dir().name)
        elif cell.fault is Fault.PORT:
            end = faults.steal(cell, self._bed, self._address())
            try:
                self._release()
                until(lambda: self._failed(), "the port to be found taken")
            finally:
                end()
        if cell.when is When.FORMING and cell.held != cell.target:
            if cell.fault is Fault.STOP:
                self._release()
            else:
                self._held_until_failure = True

    def _address(self) -> str:
        plan = json.loads((self.user.run_dir() / "plan.json").read_text())
        return next(str(t["address"]) for t in plan["tasks"] if t["task"] == self.cell.target)

    def _check_stopped(self, code: int) -> None:
        """A run that was stopped has saved its state, if there was any."""
        outcome = self.user.report()["outcome"]
        if self.cell.when is When.TRAINING:
            assert (code, outcome) == (0, "stopped, its state is saved"), self.user.report()
            self.saved_at = self.user.report()["step"]
        else:
            assert (code, outcome) == (143, "terminated"), self.user.report()

    def _failed(self) -> bool:
        return any(
            e["what"] in ("Exited", "Lost") and (e["task"] != self.cell.held or e.get("code"))
            for e in self.events()
        )

    def _release(self) -> None:
        """Let the held task go on, where its latest attempt is held: once an attempt."""
        held = self.cell.held if self.cell.fault is not Fault.NEVER else ""
        attempt = max(self.attempts(held), default=0) if held else 0
        if attempt in self._released or not self.log(held, attempt).endswith(b" held\n"):
            return
        if world.pids(self.mark, held):
            self._released.add(attempt)
            with contextlib.suppress(ProcessLookupError):  # it is being taken down
                faults.send(self.mark, held, signal.SIGUSR2)

    def _release_late(self) -> None:
        """Let the held task go on once the fault has been noticed."""
        if self._held_until_failure and self._failed():
            time.sleep(_SETTLES_S)  # what the failure takes down is killed at once
            self._release()


_SETTLES_S = 0.3
_LOSING = (Fault.CUT, Fault.CUT_MOVE)
