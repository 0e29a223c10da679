"""What a task says while it trains: lines for people, marker lines, TensorBoard summaries.

Marker lines are printed only under a launcher that asks for them. Summaries are written with
TensorFlow alone: the tensorboard package is needed to look at them, not to write them.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from launcher import markers

_LINES_S = 1.0


def say(text: str) -> None:
    """Print one whole line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def mark(kind: str, **fields: object) -> None:
    """Print one marker line where a launcher reads them."""
    if os.environ.get("LAUNCH_MARKERS") == "1":
        say(markers.marker(kind, **fields))


def figures(values: Mapping[str, float]) -> str:
    """Return `loss=0.1234 accuracy=0.9876`."""
    return " ".join(f"{name}={value:.4f}" for name, value in values.items())


class Summaries:
    """TensorBoard scalars of one split, in a directory made at the first of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one value to each figure's curve."""
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._directory))
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=1)
        with self._writer.as_default(), tf.device("CPU:0"):
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value), step=step, metadata=metadata)
        self._writer.flush()


class Progress:
    """Reports one run's steps: a marker about once a second, a line and a summary an epoch."""

    def __init__(self, total_steps: int, steps_per_epoch: int, summaries: Summaries | None) -> None:
        self._total = total_steps
        self._per_epoch = steps_per_epoch
        self._summaries = summaries
        self._last = time.monotonic()
        self._steps = 0
        self._epoch_started = self._last

    def step(self, step: int, performed: int) -> None:
        """Tell that training has reached `step`, `performed` steps after it was told last."""
        self._steps += performed
        now = time.monotonic()
        if now - self._last >= _LINES_S or step >= self._total:
            rate = self._steps / max(now - self._last, 1e-9)
            mark("step", step=step, total_steps=self._total, steps_per_s=round(rate, 2))
            self._last, self._steps = now, 0

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the figures of the examples trained on since the last epoch."""
        now = time.monotonic()
        seconds, self._epoch_started = now - self._epoch_started, now
        epochs = -(-self._total // self._per_epoch)
        number = -(-step // self._per_epoch)
        text = f"epoch {number}/{epochs} step {step}/{self._total} {figures(values)}"
        say(f"{text} ({seconds:.2f} s)")
        mark("metrics", step=step, split="train", final=step >= self._total, **values)
        if self._summaries:
            self._summaries.write(step, values)
