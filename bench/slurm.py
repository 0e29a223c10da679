"""What the launcher adds to a Slurm job's start, beside a bare `srun` of the same two programs.

sudo .venv/bin/python -m bench.slurm      (makes hosts with a Slurm on this machine: tests/testbed)
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.measure import compile_launcher, say
from tests.testbed.slurm import Slurm
from tests.testbed.testbed import Testbed

NODES = 2
ROUNDS = 10
_DEADLINE_S = 60.0
_CLUSTER = f"tasks: {{worker: {{count: {NODES}}}}}\nplatforms: {{slurm: {{nodes: {NODES}}}}}\n"
# Each writes when it began; the file is whole once it has its name.
_TASK = 'date +%s.%N >"$0/.$$" && mv "$0/.$$" "$0/$$"'


def main() -> None:
    """Print the table."""
    compile_launcher()
    bed = Testbed.up(NODES)
    try:
        slurm = Slurm.up(bed)
        with tempfile.TemporaryDirectory() as folder:
            _compare(slurm, Path(folder))
        slurm.down()
    finally:
        bed.down()


def _compare(slurm: Slurm, folder: Path) -> None:
    took: dict[str, list[float]] = {"srun": [], "sbatch of srun": [], "launch submit": []}
    for round_number in range(ROUNDS + 1):
        for name, measure in zip(took, (_srun, _sbatch, _ours), strict=True):
            place = folder / f"{name.replace(' ', '-')}.{round_number}"
            (place / "began").mkdir(parents=True)
            _await_phase(round_number / ROUNDS)
            since = measure(slurm, place)
            seconds = _await_tasks(place / "began") - since
            slurm.clear()
            if round_number:  # the first is not counted
                took[name].append(seconds)
    srun = statistics.median(took["srun"])
    for name, limit_s in (("sbatch of srun", None), ("launch submit", 1.0)):
        median = statistics.median(took[name])
        figure = f"{median - srun:+.2f} s ({median:.2f} - {srun:.2f})"
        limit = "" if limit_s is None else f"<= {limit_s:g} s"
        holds = limit_s is None or median - srun <= limit_s
        say(f"{name}: from accepted until both run, less srun", figure, limit, holds)


def _await_phase(phase_s: float) -> None:
    """Return that long after the beginning of a second: slurmctld looks for jobs once in each."""
    time.sleep((phase_s - time.time()) % 1)


def _srun(slurm: Slurm, place: Path) -> float:
    """Start both by a bare srun; return when that began."""
    began = time.time()
    argv = ["srun", f"--nodes={NODES}", f"--ntasks={NODES}", *_task(place)]
    subprocess.run(argv, env=_environ(slurm), check=True)
    return began


def _sbatch(slurm: Slurm, place: Path) -> float:
    """Start both by an srun in a script; return when Slurm had accepted that."""
    (place / "job.sh").write_text('#!/bin/sh\nsrun sh -c "$TASK" "$PLACE"\n')
    argv = ["sbatch", f"--nodes={NODES}", f"--ntasks={NODES}", "--output=/dev/null",
            str(place / "job.sh")]  # fmt: skip
    env = {**_environ(slurm), "TASK": _TASK, "PLACE": str(place / "began")}
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.time()


def _ours(slurm: Slurm, place: Path) -> float:
    """Submit a run of both; return when it was said that Slurm had accepted it."""
    (place / "cluster.yaml").write_text(_CLUSTER)
    argv = [sys.executable, "-m", "launcher", "submit", "--platform", "slurm", "--"]
    with subprocess.Popen([*argv, *_task(place)], env={**_environ(slurm), "PYTHONUNBUFFERED": "1"},
                          cwd=place, stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline()
        accepted = time.time()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return accepted


def _task(place: Path) -> list[str]:
    return ["sh", "-c", _TASK, str(place / "began")]


def _environ(slurm: Slurm) -> Mapping[str, str]:
    return {**os.environ, **slurm.environ, "PYTHONPATH": str(Path.cwd())}


def _await_tasks(began: Path) -> float:
    """Return when the last of the tasks began."""
    end = time.monotonic() + _DEADLINE_S
    while len(files := [path for path in began.iterdir() if path.name.isdecimal()]) < NODES:
        if time.monotonic() > end:
            raise TimeoutError(f"only {len(files)} of {NODES} tasks have begun")
        time.sleep(0.02)
    return max(float(path.read_text()) for path in files)


if __name__ == "__main__":
    main()
