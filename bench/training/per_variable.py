"""The reference for two workers: mnist_dist with an all-reduce a variable and one step a call."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "trainers"))

import mnist_data
import mnist_dist
import tensorflow as tf

from launcher import training
from launcher.training.learner import Update
from launcher.training.local import LocalProgram, Performed
from launcher.training.loop import Pace


def reduced(program: LocalProgram, update: Update) -> Update:
    context = tf.distribute.get_replica_context()

    def total(tensor: Any) -> Any:
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)

    gradients = [total(gradient) / program.replicas for gradient in update.gradients]
    state = [total(value) / program.replicas for value in update.state]
    return Update(gradients, state, total(update.totals))


def one(pace: Pace, last: Performed | None) -> int:
    return 1


LocalProgram._reduced = reduced  # type: ignore[assignment,method-assign]
Pace.next = one  # type: ignore[assignment,method-assign]

if __name__ == "__main__":
    training.main(mnist_dist.main, bad_input=(mnist_data.DataError,))
