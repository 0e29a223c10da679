"""Which checkpoints are read, whoever wrote them."""

import contextlib
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from launcher.errors import InputError
from launcher.training import optimizer
from launcher.training.checkpoint import Checkpoints
from launcher.training.learner import Variables


def variables(units: int = 2) -> Variables:
    def build() -> keras.Model:
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])

    example = tf.zeros((1, 3))
    return Variables.create(
        build, optimizer("adam"), example, 0, lambda _: contextlib.nullcontext()
    )


def test_one_that_does_not_tell_how_many_steps_there_are(tmp_path: Path) -> None:
    """It is read, counters and all; another model's is refused, as ever."""
    wrote = variables()
    wrote.model.layers[-1].bias.assign([1.0, 2.0])
    slots = {name: [of[name] for of in wrote.slots] for name in wrote.slots[0]}
    older = tf.train.Checkpoint(
        model=wrote.model,
        optimizer=tf.train.Checkpoint(**slots),
        step=tf.Variable(7, dtype=tf.int64),
        updates=tf.Variable(5, dtype=tf.int64),
    )
    path = tf.train.CheckpointManager(older, str(tmp_path), 1).save(checkpoint_number=7)

    read = Checkpoints(tmp_path, variables())
    read.total_steps.assign(30)  # of another checkpoint
    assert read.restore() == path
    assert (int(read.step), int(read.updates), int(read.total_steps)) == (7, 5, 0)
    assert list(read.variables.model.layers[-1].bias.numpy()) == [1.0, 2.0]

    path = read.save(8, 6, 9)
    again = Checkpoints(tmp_path, variables())
    assert again.restore() == path
    assert (int(again.step), int(again.total_steps)) == (8, 9)
    with pytest.raises(InputError, match="written with another model or optimizer"):
        Checkpoints(tmp_path, variables(units=4)).restore()


def test_one_that_is_damaged(tmp_path: Path) -> None:
    """The one before is read."""
    checkpoints = Checkpoints(tmp_path, variables())
    first, second = (checkpoints.save(step, step, 9) for step in (1, 2))
    Path(f"{second}.index").unlink()
    assert checkpoints.restore() == first
    assert int(checkpoints.step) == 1
