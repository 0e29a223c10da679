"""Checkpoints of a training run: written by the chief alone, read by the chief and the evaluator.

A checkpoint is a `tf.train.Checkpoint` with `model`, `optimizer`, and the counters `step`,
`updates` and `total_steps`; its weights are read anywhere by
`tf.train.Checkpoint(model=your_model).restore(path).expect_partial()`. It holds plain variables of
one process, whatever the strategy, so that no file system needs to be shared. One written before
there was a `total_steps` is read all the same. TensorFlow completes
the files under other names before it names them. This file knows nothing of strategies: values are
given to it and taken from it.
"""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import tensorflow as tf

from launcher.errors import InputError, LaunchError
from launcher.training.learner import Variables

_KEPT = 3
_TOTAL_STEPS = "total_steps/.ATTRIBUTES/VARIABLE_VALUE"  # as TensorFlow names it in the files


class Checkpoints:
    """The checkpoints in one directory, of one set of plain variables.

    total_steps: at which training ends, as the checkpoint that was loaded says; 0 where it does
        not tell.
    """

    def __init__(self, directory: Path, variables: Variables) -> None:
        self.directory = directory
        self.variables = variables
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.total_steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="total_steps")
        by_slot = {name: [slots[name] for slots in variables.slots] for name in _names(variables)}
        parts = {
            "model": variables.model,
            "optimizer": tf.train.Checkpoint(**by_slot),
            "step": self.step,
            "updates": self.updates,
        }
        self._checkpoint = tf.train.Checkpoint(**parts, total_steps=self.total_steps)
        self._without_total = tf.train.Checkpoint(**parts)
        self._manager: Any = None

    def make_directory(self) -> None:
        """Make the directory: what cannot be written to is told before hours of training.

        Raises:
            LaunchError: when it cannot be made, or not be written to.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=self.directory).close()
        except OSError as error:
            raise LaunchError(
                f"{self.directory}: cannot write checkpoints there as user {os.geteuid()}: "
                f"{error.strerror}. Let that user write to it, or give another folder"
            ) from None

    def save(self, step: int, updates: int, total_steps: int) -> str:
        """Write the variables as the checkpoint of `step`, keeping the last few; return its path.

        total_steps: at which training ends.

        Raises:
            LaunchError: when the directory cannot be written.
        """
        self.step.assign(step)
        self.updates.assign(updates)
        self.total_steps.assign(total_steps)
        try:
            path = self._open().save(checkpoint_number=step, check_interval=False)
        except (OSError, tf.errors.OpError) as error:
            raise LaunchError(f"{self.directory}: cannot write a checkpoint: {error}") from None
        return str(path)

    def latest(self) -> str | None:
        """Return the path of the newest complete checkpoint, or None."""
        path: str | None = tf.train.latest_checkpoint(str(self.directory))
        return path

    def restore(self) -> str | None:
        """Load the newest checkpoint that can be read; return its path, or None without one.

        Raises:
            InputError: when it belongs to another model or optimizer.
        """
        state = tf.train.get_checkpoint_state(str(self.directory))
        for path in reversed(state.all_model_checkpoint_paths if state else ()):
            try:
                self.load(path)
            except tf.errors.OpError as error:
                print(f"checkpoint {path} cannot be read, trying the one before: {error}")
            else:
                return str(path)
        return None

    def load(self, path: str) -> None:
        """Load one checkpoint into the variables and counters.

        Raises:
            InputError: when it belongs to another model or optimizer.
            tf.errors.OpError: when it is gone or damaged.
        """
        has_total = tf.train.load_checkpoint(path).has_tensor(_TOTAL_STEPS)
        try:
            checkpoint = self._checkpoint if has_total else self._without_total
            checkpoint.restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError):
            raise InputError(
                f"{path}: this checkpoint was written with another model or optimizer; "
                "give an empty output directory, or remove it"
            ) from None
        if not has_total:
            self.total_steps.assign(0)

    def _open(self) -> Any:
        if self._manager is None:
            self._manager = tf.train.CheckpointManager(
                self._checkpoint, str(self.directory), max_to_keep=_KEPT
            )
        return self._manager


def _names(variables: Variables) -> tuple[str, ...]:
    return tuple(variables.slots[0]) if variables.slots else ()
