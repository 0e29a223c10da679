"""Measures the training figures, each against its reference in the same round; prints a table.

    python bench/training/figures.py [--rounds 3]

A round runs every program once, one after the other, with the round's number as the seed; a
figure is the median of the rounds' ratios. Takes about three minutes a round on two cores.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from launcher.training.testing import Processes

HERE = Path(__file__).parent
DIGITS = HERE / "digits.py"
TRAINERS = HERE.parents[1] / "trainers"
EPOCHS = 2


class Timed(NamedTuple):
    """What one program took and reached."""

    epochs_s: tuple[float, ...]
    accuracy: float

    @property
    def epoch_s(self) -> float:
        return statistics.mean(self.epochs_s)


class Round(NamedTuple):
    """What one round measured."""

    fit: Timed
    single: Timed
    one_task: Timed
    flat: Timed
    per_variable: Timed
    served: Timed
    steps: int
    updates: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        subprocess.run([sys.executable, str(DIGITS), str(data)], check=True)
        rounds: list[Round] = []
        for seed in range(asked.rounds):
            rounds.append(measure(data, Path(directory) / str(seed), seed))
            print(f"after {len(rounds)} of {asked.rounds} rounds\n{table(rounds)}", flush=True)


def measure(data: Path, out: Path, seed: int) -> Round:
    fit = alone(HERE / "plain_fit.py", str(data), str(seed), str(EPOCHS))
    flags = (f"--data_dir={data}", f"--seed={seed}", f"--epochs={EPOCHS}")
    single = alone(TRAINERS / "mnist_single.py", *flags, f"--output_dir={out}/single")
    dist = TRAINERS / "mnist_dist.py"
    one_task = cluster(dist, ["worker:0"], out / "one", *flags)
    few = (f"--data_dir={data}", f"--seed={seed}", "--batch_size=64", "--max_step=1500")
    flat = cluster(dist, ["worker:0", "worker:1"], out / "flat", *few)
    per = cluster(HERE / "per_variable.py", ["worker:0", "worker:1"], out / "per", *few)
    tasks = ["chief:0", "worker:0", "worker:1", "ps:0"]
    served = cluster(dist, tasks, out / "served", *flags, "--max_step=3000")
    steps, updates = counters(out / "served" / "chief-0")
    return Round(fit, single, one_task, flat, per, served, steps, updates)


def alone(script: Path, *arguments: str) -> Timed:
    words = [sys.executable, str(script), *arguments]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    return timed(done.stdout)


def cluster(script: Path, tasks: Sequence[str], out: Path, *arguments: str) -> Timed:
    out.mkdir(parents=True)
    with Processes(tasks, out, timeout_s=300) as processes:
        words = [sys.executable, str(script), f"--output_dir={out}/{{slug}}", *arguments]
        processes.start(words)
        for task in tasks:
            if processes.wait(task):
                raise SystemExit(f"{task} failed:\n{processes.output(task)}")
        return timed(processes.output(tasks[0]))


def timed(output: str) -> Timed:
    seconds = tuple(float(s) for s in re.findall(r"^epoch .*\((.*) s\)$", output, re.MULTILINE))
    accuracy = re.findall(r"^loss=.* accuracy=(\S+)$", output, re.MULTILINE)
    return Timed(seconds, float(accuracy[-1]))


def counters(output_dir: Path) -> tuple[int, int]:
    """Return the steps and the updates that the last checkpoint counts."""
    import tensorflow as tf

    path = tf.train.latest_checkpoint(str(output_dir / "checkpoints"))
    names = (f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("step", "updates"))
    steps, updates = (int(tf.train.load_variable(path, name)) for name in names)
    return steps, updates


def table(rounds: Sequence[Round]) -> str:
    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    def ratio(ours: str, reference: str) -> float:
        return median([getattr(r, ours).epoch_s / getattr(r, reference).epoch_s for r in rounds])

    fit, single = (median([getattr(r, n).epoch_s for r in rounds]) for n in ("fit", "single"))
    gained = min(r.single.accuracy - r.fit.accuracy for r in rounds)
    accuracies = ", ".join(f"{r.single.accuracy:.4f}/{r.fit.accuracy:.4f}" for r in rounds)
    # The first epochs hold start-up and tracing; a step is timed by the second, of 1125 steps.
    step_ms = median([1000 * r.served.epochs_s[-1] / (r.steps - 1875) for r in rounds])
    counted = ", ".join(f"{r.updates}/{r.steps}" for r in rounds)
    rows = [
        ("mnist_single / plain fit, an epoch", f"{ratio('single', 'fit'):.2f}", "0.35"),
        ("  seconds an epoch", f"{single:.2f} / {fit:.2f}", ""),
        ("  test accuracy, each round", accuracies, f"≥ (smallest gain {gained:+.4f})"),
        ("mnist_dist, one task / mnist_single", f"{ratio('one_task', 'single'):.2f}", "1.15"),
        ("two workers: flat / per variable", f"{ratio('flat', 'per_variable'):.2f}", "0.65"),
        ("parameter servers, ms a step", f"{step_ms:.1f}", "9"),
        ("  updates/steps, each round", counted, "equal"),
    ]
    lines = [f"| {name} | {value} | {limit} |" for name, value, limit in rows]
    return "\n".join(["| figure | measured | at most |", "|---|---|---|", *lines])


if __name__ == "__main__":
    main()
