"""Losses and metrics as exact sums and counts."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from launcher.training.objective import Objective

LABELS = tf.constant([[1.0], [0.0], [3.0]])
OUTPUTS = tf.constant([[2.0], [0.0], [1.0]])


@pytest.mark.parametrize("loss", [keras.losses.MeanSquaredError(), keras.losses.mean_squared_error])
def test_one_output(loss: Callable[..., Any]) -> None:
    """Keras losses, objects or functions, give the mean over the batch; weights scale examples."""
    objective = Objective(loss)
    assert float(objective.value(LABELS, OUTPUTS)) == pytest.approx(5 / 3)
    weights = tf.constant([1.0, 1.0, 0.0])
    assert float(objective.value(LABELS, OUTPUTS, weights)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("as_nest", [dict, lambda pairs: [v for _, v in pairs]])
def test_several_outputs(as_nest: Callable[[Any], Any]) -> None:
    """Losses in a mapping or a sequence are summed by their weights."""

    def nest(a: object, b: object) -> Any:
        return as_nest([("a", a), ("b", b)])

    loss = keras.losses.mean_squared_error
    objective = Objective(nest(loss, loss), loss_weights=nest(1.0, 0.5))
    value = objective.value(nest(LABELS, OUTPUTS), nest(OUTPUTS, OUTPUTS))
    assert float(value) == pytest.approx(5 / 3)


def test_figures_of_unequal_batches_add_up() -> None:
    """Means over batches of different sizes are the means over all examples."""
    metric = keras.metrics.mean_absolute_error
    objective = Objective(keras.losses.mean_squared_error, {"error": metric})
    totals = objective.empty()
    for part in (slice(0, 2), slice(2, 3)):
        loss = objective.value(LABELS[part], OUTPUTS[part])
        totals += objective.totals(loss, LABELS[part], OUTPUTS[part])
    assert objective.means(totals.numpy()) == pytest.approx({"loss": 5 / 3, "error": 1.0})
    assert objective.means(np.zeros((2, 2))) == {}
