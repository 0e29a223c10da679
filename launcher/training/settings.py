"""Settings: how long, how large and with what a model is trained. Values, checked when made.

Knows which numbers make sense together. Refuses to know flags, files' contents, or TensorFlow.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from launcher.errors import InputError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a training run is asked to do, the same for every task of a cluster.

    output_dir: where this task writes; checkpoints go to `checkpoints/` in it unless the launcher
        names a directory that all tasks share ($LAUNCH_CHECKPOINT_DIR) or `checkpoint_dir` does.
    epochs: passes over the training examples.
    batch_size: examples per update, over all replicas together; under parameter_server, where
        every update comes from one worker, the examples of that worker's update.
    max_step: stop after this many updates even if epochs are left.
    seed: of the initial weights, the order of the examples and dropout.
    log_dir: TensorBoard summaries; `output_dir/logs` without it.
    checkpoint_s: seconds between checkpoints inside an epoch (each epoch ends with one).
    checkpoint_steps: additionally a checkpoint at every multiple of this step.

    Raises:
        InputError: with every problem found.
    """

    output_dir: Path
    epochs: int = 2
    batch_size: int = 32
    max_step: int | None = None
    seed: int = 0
    log_dir: Path | None = None
    checkpoint_dir: Path | None = None
    checkpoint_s: float = 60.0
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        if problems := tuple(self._problems()):
            raise InputError(problems)

    def _problems(self) -> Iterator[Problem]:
        positive = ("epochs", "batch_size", "max_step", "checkpoint_steps")
        for name in positive:
            value = getattr(self, name)
            if value is not None and value < 1:
                yield Problem(name, f"expected an integer ≥ 1, got {value}")
        if not 0 <= self.seed < 2**31:
            yield Problem("seed", f"expected an integer from 0 to {2**31 - 1}, got {self.seed}")
        if not (isfinite(self.checkpoint_s) and self.checkpoint_s > 0):
            yield Problem("checkpoint_s", f"expected seconds > 0, got {self.checkpoint_s}")

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        shared = os.environ.get("LAUNCH_CHECKPOINT_DIR")
        return self.checkpoint_dir or (Path(shared) if shared else self.output_dir / "checkpoints")

    @property
    def summaries(self) -> Path:
        """The directory of the TensorBoard summaries."""
        return self.log_dir or self.output_dir / "logs"

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the number of updates of the whole run, whatever was interrupted meanwhile."""
        steps = self.epochs * steps_per_epoch
        return steps if self.max_step is None else min(steps, self.max_step)

    def batch_per_replica(self, replicas: int) -> int:
        """Return the examples of one replica's share of the global batch.

        Raises:
            InputError: when the global batch cannot be divided evenly.
        """
        if self.batch_size % replicas:
            lower = self.batch_size // replicas * replicas
            near = " or ".join(str(b) for b in (lower, lower + replicas) if b)
            raise InputError(
                Problem(
                    "batch_size",
                    f"expected a multiple of the {replicas} replicas that share it, "
                    f"got {self.batch_size} (try {near})",
                )
            )
        return self.batch_size // replicas
