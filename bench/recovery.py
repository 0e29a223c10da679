"""What a killed task costs: until it is noticed, until all run again, until training goes on.

sudo .venv/bin/python -m bench.recovery            (processes, and hosts made here: tests/testbed)

mnist_dist itself, real TensorFlow; on this machine's cores the hosts' tasks import it side by side.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import REPOSITORY, compile_launcher, say
from tests.testbed import Testbed
from tests.testbed import images as base_images

ROUNDS = 3
IMAGE = "bench_recovery"
_DEADLINE_S = 300.0
_POLL_S = 0.02
MWMS = "tasks: {chief: {}, worker: {}}\n"
PSS = "tasks: {chief: {}, worker: {count: 2}, ps: {}}\n"


class Took(NamedTuple):
    """Seconds from the kill on; `told` is when the engine says that the container has ended."""

    told: float
    noticed: float
    running: float
    training: float


class Trial:
    """One run, whose worker is killed while it trains."""

    def __init__(self, folder: Path, env: dict[str, str], cluster: str) -> None:
        folder.mkdir(parents=True)
        (folder / "cluster.yaml").write_text(cluster)
        self._runs = folder / "runs"
        command = [sys.executable, "-m", "launcher", "mnist_dist", "--epochs", "2000"]
        self.launcher = subprocess.Popen(
            command, cwd=folder, env={**env, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def took(self, kill: Callable[["Trial"], float], restarted: int) -> Took:
        """Kill a worker while training goes on, which restarts so many; return what that took."""
        try:
            _until(lambda: len(self._steps("chief-0.1")) > 3)
            before = self._events()
            began = time.time()
            told_at = kill(self)
            ended = self._await(before, "Exited")
            _until(lambda: len(self._all(before, "Started")) >= restarted)
            running = max(event["time"] for event in self._all(before, "Started"))
            log = "chief-0.2" if (self._logs / "chief-0.2.log").exists() else "chief-0.1"
            known = len(self._steps(log)) if log == "chief-0.1" else 0
            _until(lambda: len(self._steps(log)) > known)
            return Took(
                told_at - began, ended["time"] - began, running - began, time.time() - began
            )
        finally:
            for _ in range(2):
                self.launcher.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            self.launcher.wait()

    def pid_of(self, task: str) -> int:
        """Return the process of a task that is one here."""
        kind, _, index = task.partition(":")
        mark = f'"type": "{kind}", "index": {index}'.encode()
        for entry in Path("/proc").iterdir():
            try:
                environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if mark in environ and str(self._runs).encode() in environ:
                return int(entry.name)
        raise LookupError(task)

    @property
    def _logs(self) -> Path:
        return next(self._runs.iterdir()) / "logs"

    def _steps(self, log: str) -> list[str]:
        try:
            lines = (self._logs / f"{log}.log").read_text(errors="replace").splitlines()
        except (OSError, StopIteration):
            return []
        return [line for line in lines if '"kind":"step"' in line]

    def _events(self) -> list[dict[str, Any]]:
        text = (self._logs.parent / "events.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def _all(self, before: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
        return [e for e in self._events()[len(before) :] if e["what"] == what]

    def _await(self, before: list[dict[str, Any]], what: str) -> dict[str, Any]:
        _until(lambda: bool(self._all(before, what)))
        return self._all(before, what)[0]


def main() -> None:
    """Print the table."""
    compile_launcher()
    with tempfile.TemporaryDirectory() as folder:
        if "--hosts" not in sys.argv:
            _processes(Path(folder))
        with _hosts(Path(folder)) as (bed, env):
            _on_hosts(Path(folder), bed, env)


def _processes(folder: Path) -> None:
    def kill(trial: Trial) -> float:
        os.kill(trial.pid_of("worker:0"), signal.SIGKILL)
        return time.time()

    for name, tasks, restarted, limits in (
        ("processes, MWMS worker", MWMS, 2, (0.3, 3.0, 8.0)),
        ("processes, PSS worker", PSS, 1, (0.3, 1.5, None)),
    ):
        rounds = [
            Trial(folder / f"{name}-{n}", dict(os.environ), tasks).took(kill, restarted)
            for n in range(ROUNDS)
        ]
        _say(name, rounds, limits)


def _on_hosts(folder: Path, bed: Testbed, env: dict[str, str]) -> None:
    hosts = "".join(
        f"  {host.name}: {{address: {host.address}, ssh: {{host: {host.name}}}}}\n"
        for host in bed.hosts
    )
    head = f"image: {IMAGE}\nhosts:\n{hosts}"
    placed = "tasks: {chief: {host: h1}, worker: {hosts: [h2]}}\n"
    served = "tasks: {chief: {host: h1}, worker: {hosts: [h2, h2]}, ps: {host: h1}}\n"

    def kill(_trial: Trial) -> float:
        engine = bed.hosts[1].engine
        listed = engine.request("GET", "/containers/json")
        assert isinstance(listed, list)
        (worker,) = [c for c in listed if c["Labels"].get("launch.task") == "worker:0"]
        engine.request("POST", f"/containers/{worker['Id']}/kill")
        engine.request("POST", f"/containers/{worker['Id']}/wait")
        return time.time()

    for name, tasks, restarted, limits in (
        ("hosts, MWMS worker", placed, 2, (0.3, 3.0, 10.0)),
        ("hosts, PSS worker", served, 1, (0.3, 1.5, None)),
    ):
        rounds = [
            Trial(folder / f"{name}-{n}", env, head + tasks).took(kill, restarted)
            for n in range(ROUNDS)
        ]
        _say(name, rounds, limits)


@contextmanager
def _hosts(folder: Path) -> Iterator[tuple[Testbed, dict[str, str]]]:
    """Two hosts, and the image of mnist.Dockerfile on this machine's engine."""
    os.environ.setdefault("LAUNCH_TESTBED", "rec")
    bed = Testbed.up(2)
    try:
        bed.give_image("tensorflow")
        env = bed.environ(folder / "home")
        base = ("--build-arg", f"BASE_IMAGE={base_images.TENSORFLOW}", "--network", "host")
        build = [sys.executable, "-m", "launcher", "build", "-t", IMAGE, *base, str(REPOSITORY)]
        subprocess.run(build, env=env, check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY)
        yield bed, env
    finally:
        bed.down()


def _say(name: str, rounds: list[Took], limits: tuple[float | None, ...]) -> None:
    told = statistics.median(took.told for took in rounds)
    for what, limit in zip(Took._fields[1:], limits, strict=True):
        median = statistics.median(getattr(took, what) for took in rounds)
        holds = limit is None or median <= limit
        figure = f"{median:.2f} s (Docker: {told:.2f} s)" if told > 0.01 else f"{median:.2f} s"
        say(f"{name}: until {what}", figure, f"<= {limit:g} s" if limit else "", holds)


def _until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {_DEADLINE_S:g} s")
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
