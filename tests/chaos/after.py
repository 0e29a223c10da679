"""What must be true after a cell: steps, lines and nothing left behind anywhere."""

import json
import re
from pathlib import Path

from tests.chaos import world
from tests.chaos.cells import Cell, Expected, Fault, When, Where
from tests.chaos.trainers import TENSORFLOW
from tests.chaos.trial import Trial
from tests.conftest import until
from tests.containers.conftest import Engines
from tests.testbed import Testbed

_OURS_END_S = 10.0
#: What a host of the testbed runs of itself.
_OF_HOSTS = ("sshd", "dockerd", "containerd", "docker-proxy", "sleep", "sh /", "unshare",
             "clock_relay")  # fmt: skip


def check_steps(trial: Trial, expected: Expected) -> None:
    """No step is lost; at most those since the last checkpoint were made twice."""
    trainer = trial.trainer
    reached = saved = 0
    resumed = trial.cell.fault is Fault.RESUME and trial.cell.when is When.TRAINING
    for attempt in trial.attempts("chief:0"):
        steps = trial.steps_of("chief:0", attempt)
        if not steps:
            continue
        assert steps == sorted(set(steps)), (attempt, steps)
        begin = trainer.begins_at(trial.log("chief:0", attempt).decode(errors="replace"))
        assert saved <= begin <= reached, f"attempt {attempt} from {begin}, of {saved} to {reached}"
        if resumed and attempt > 1:
            assert begin == trial.saved_at, f"resumed from {begin}, saved at {trial.saved_at}"
        if trainer is not TENSORFLOW:  # which tells some of its steps only
            assert steps == list(range(begin + 1, steps[-1] + 1)), (attempt, steps)
        reached = max(reached, steps[-1], *trial.steps_of("chief:0", attempt, "checkpoint"))
        saved = max(saved, (steps[-1] - 1) // trainer.checkpoint_steps * trainer.checkpoint_steps)
    if expected.is_whole:
        assert reached == trainer.steps == trial.user.report()["step"]
        if _evaluates(trial.cell):
            last = trial.attempts("evaluator:0")[-1]
            log = trial.log("evaluator:0", last).decode(errors="replace")
            assert re.search(rf"evaluated (step )?{trainer.steps}\b", log), log


def _evaluates(cell: Cell) -> bool:
    """Whether the evaluator lives to see the last checkpoint."""
    if "evaluator:0" not in cell.tasks:
        return False
    if cell.fault is Fault.DOCKERD:  # asked to end with its host's Docker, it did
        return False
    if cell.role != "evaluator":
        return True
    return cell.fault in (Fault.KILL, Fault.REMOVED) or (
        cell.fault is Fault.EXIT_1 and cell.when is When.TRAINING
    )


def check_lines(trial: Trial) -> None:
    """Every line that any attempt of any task printed is in its log here, once, in order."""
    run = trial.user.run_dir()
    for task in trial.cell.tasks:
        counts = {
            file.name.removeprefix("lines-"): int(file.read_text() or 0)
            for file in run.glob(f"output/{task.replace(':', '-')}*/lines-*")
        }
        for attempt in trial.attempts(task):
            log = trial.log(task, attempt)
            lines = log.decode().splitlines()
            if not lines:
                continue
            assert log.endswith(b"\n"), (task, attempt, lines[-1])
            numbers = [_number(line) for line in lines]
            assert numbers == list(range(1, len(lines) + 1)), (task, attempt, lines)
            if _is_whole(trial.cell, task):
                printed = counts[lines[0].split()[2]]
                assert len(lines) in (printed, printed + 1), (task, attempt, printed, lines)


def _is_whole(cell: Cell, task: str) -> bool:
    """Whether all that a task printed can have come home."""
    if cell.fault is Fault.DISK:
        return False
    return cell.fault is not Fault.REMOVED or cell.target != task


def _number(line: str) -> int:
    if line.startswith("@launch "):
        return int(json.loads(line.removeprefix("@launch "))["n"])
    return int(line.split()[0])


class Ground:
    """What was there before a cell, so that what it leaves can be told: on every host, and here."""

    def __init__(self, cell: Cell, bed: Testbed | None) -> None:
        self._bed = bed if cell.where is not Where.PROCESS else None
        self._engines = Engines(self._bed.engines) if self._bed else None
        self._before = self._processes()

    def check_clean(self, mark: str, run: str) -> None:
        """Nothing of a run is left: processes, containers, volumes, networks, leases."""
        until(lambda: not list(world.processes(mark)), "the tasks to be gone", _OURS_END_S)
        until(lambda: not list(Path("/tmp").glob(f"launch-*{run}*")), "files here", _OURS_END_S)
        if self._bed is None or self._engines is None:
            return
        assert self._engines.left() == []
        for host in self._bed.hosts[: world.HOSTS]:
            files = host.root / "tmp"
            until(lambda f=files: not list(f.glob(f"launch-{run}*")), "leases", _OURS_END_S)  # type: ignore[misc]
        until(lambda: not self._processes() - self._before, "hosts to be as before", _OURS_END_S)

    def _processes(self) -> set[tuple[str, str]]:
        """Return what runs on the hosts beside what they run of themselves."""
        if self._bed is None:
            return set()
        script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null"
        found = set()
        for host in self._bed.hosts[: world.HOSTS]:
            for line in host.exec("sh", "-c", script).stdout.splitlines():
                own = "proc/[0-9]" in line or line.startswith("tr ")
                if line.strip() and not own and not any(w in line for w in _OF_HOSTS):
                    found.add((host.name, line))
        return found
