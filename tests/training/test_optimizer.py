"""The optimizers against Keras' own, and what they refuse."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from launcher.errors import InputError
from launcher.training import OPTIMIZERS, Adam, Optimizer, Sgd, optimizer

PAIRS = [
    (optimizer("adam"), lambda: keras.optimizers.Adam()),
    (optimizer("adam", 0.03), lambda: keras.optimizers.Adam(0.03)),
    (optimizer("sgd"), lambda: keras.optimizers.SGD(0.01, momentum=0.9)),
    (Sgd(0.1, momentum=0.5, nesterov=True), lambda: keras.optimizers.SGD(0.1, 0.5, True)),
    (Sgd(0.1, momentum=0.0), lambda: keras.optimizers.SGD(0.1)),
    (optimizer("rmsprop"), lambda: keras.optimizers.RMSprop()),
    (optimizer("adagrad", 0.1), lambda: keras.optimizers.Adagrad(0.1)),
    (
        Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    ),
]


@pytest.mark.parametrize(("ours", "keras_own"), PAIRS, ids=lambda v: getattr(v, "_id", None))
def test_update_equals_keras(ours: Optimizer, keras_own: Callable[[], Any]) -> None:
    """Ten updates of each optimizer lead to the numbers that Keras' own leads to."""
    start = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    reference, rule = keras.Variable(start), keras_own()
    variable = tf.Variable(start)
    slots = {n: tf.Variable(tf.fill((3, 4), initial)) for n, initial in ours.slots.items()}
    random = np.random.default_rng(0)
    for number in range(1, 11):
        gradient = tf.constant(random.normal(size=(3, 4)).astype(np.float32))
        rule.apply([gradient], [reference])
        ours.update(variable, slots, gradient, tf.constant(number, tf.int64))
    np.testing.assert_allclose(variable.numpy(), reference.numpy(), rtol=2e-5, atol=2e-6)


def test_names() -> None:
    """Every optimizer is made by its name, at its default or a given learning rate."""
    assert set(OPTIMIZERS) == {"adam", "sgd", "rmsprop", "adagrad"}
    for name, kind in OPTIMIZERS.items():
        assert optimizer(name) == kind()
        assert optimizer(name.upper(), 0.5).learning_rate == 0.5


def test_unknown_name_names_the_nearest() -> None:
    """A misspelt optimizer is refused with the known names and the likely one."""
    with pytest.raises(InputError, match=r"adam, sgd, rmsprop, adagrad.*'adan'.*mean 'adam'"):
        optimizer("adan")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_learning_rate_must_be_positive(rate: float) -> None:
    """A learning rate that cannot train is refused, not tried."""
    with pytest.raises(InputError, match="learning_rate: expected a number > 0"):
        optimizer("adam", rate)


def test_fractions_have_a_range() -> None:
    """A momentum of 1 or more would diverge and is refused."""
    with pytest.raises(InputError, match="momentum: expected"):
        Sgd(momentum=1.0)
