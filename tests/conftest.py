"""Fixtures that start the real `launch` and leave nothing behind, also when a test fails."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

pytest_plugins = ["tests.testbed.fixtures"]

# Of tests that run side by side, each process has a testbed of its own: xa, xb, or more of the name
# that is given.
if WORKER := os.environ.get("PYTEST_XDIST_WORKER"):
    BED = os.environ.get("LAUNCH_TESTBED", "x")[:2]
    os.environ["LAUNCH_TESTBED"] = f"{BED}{chr(ord('a') + int(WORKER.removeprefix('gw')))}"

# A busy machine is no failure; and in CI a change answers for itself, so its examples are fixed.
settings.register_profile("launch", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("launch")

DEADLINE_S = 30.0
TWO_TASKS = "tasks: {chief: {}, worker: {}}\ntimeouts: {grace_s: 5}\n"


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what killed TensorFlow processes leave behind among pytest's own folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        yield


def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once `condition` holds; fail the test where it does not within the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}"
        time.sleep(0.01)


class Done(NamedTuple):
    """A program that has ended."""

    code: int
    out: str
    err: str


class Launching:
    """Starts `launch` in a folder of its own; knows every process that came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = f"LAUNCH_TEST_MARK={uuid.uuid4().hex}"
        drop = ("TF_CONFIG", "LAUNCH_RUNS", "LAUNCH_STRATEGY", "NO_COLOR", "CUDA_VISIBLE_DEVICES")
        self.env = {key: value for key, value in os.environ.items() if key not in drop}
        name, _, value = self._mark.partition("=")
        self.env[name] = value
        self._started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> Path:
        """Write a file in the folder; a program where the text begins with `#!`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)
        return path

    def cluster(self, text: str = TWO_TASKS) -> None:
        """Write cluster.yaml."""
        self.write("cluster.yaml", text)

    def start(self, *words: str, **popen: Any) -> "subprocess.Popen[str]":
        """Start `launch` with these words, in a session of its own."""
        kwargs: dict[str, Any] = {
            "cwd": self.folder,
            "env": self.env,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "start_new_session": True,
            "encoding": "utf-8",
            "errors": "surrogateescape",
        }
        command = [sys.executable, "-m", "launcher", *words]
        process: subprocess.Popen[str] = subprocess.Popen(command, **{**kwargs, **popen})
        self._started.append(process)
        return process

    def run(self, *words: str, **popen: Any) -> Done:
        """Run `launch` to its end."""
        stdin = popen.pop("text_in", None)
        if stdin is not None:
            popen["stdin"] = subprocess.PIPE
        process = self.start(*words, **popen)
        out, err = process.communicate(stdin, timeout=DEADLINE_S)
        return Done(process.returncode, out or "", err or "")

    def run_dir(self) -> Path:
        """Return the one run directory."""
        (only,) = (self.folder / "runs").iterdir()
        return only

    def report(self) -> dict[str, Any]:
        """Return the report of the one run."""
        value = (self.run_dir() / "report.json").read_text()
        report: dict[str, Any] = json.loads(value, parse_constant=_no_json)
        return report

    def events(self) -> list[dict[str, Any]]:
        """Return what happened in the one run."""
        lines = (self.run_dir() / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def log(self, task: str, attempt: int = 1) -> bytes:
        """Return all that a task (`worker-0`) printed; nothing before it has been started."""
        paths = list((self.folder / "runs").glob(f"*/logs/{task}.{attempt}.log"))
        return paths[0].read_bytes() if paths else b""

    def living(self) -> list[int]:
        """Return the processes that came of what was started here, launchers included."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if self._mark.encode() in (entry / "environ").read_bytes():
                        pids.append(int(entry.name))
                except OSError:
                    continue  # it has ended meanwhile
        return pids

    def close(self) -> None:
        """End everything that was started."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
        for pid in self.living():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._started:
            process.wait(DEADLINE_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def launching(tmp_path: Path) -> Iterator[Launching]:
    """Starts `launch` in an empty folder; everything that came of it is ended afterwards."""
    made = Launching(tmp_path)
    try:
        yield made
    finally:
        made.close()
