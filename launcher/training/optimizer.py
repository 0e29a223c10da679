"""Optimizers that stay exact when several workers update the same variables at once.

Each is one fused TensorFlow op with a lock on the variable it changes (`use_locking=True`), so
that no update is lost on a parameter server, where a Keras 3 optimizer silently loses some. Their
mathematics and defaults are those of the Keras optimizers of the same name. This file knows
nothing of models, strategies or checkpoints.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, ClassVar

import tensorflow as tf

from launcher.errors import InputError, Problem, nearest

Schedule = Callable[[Any], Any]
_EPSILON = 1e-7


@dataclass(frozen=True)
class Optimizer(ABC):
    """A rule that turns gradients into updates.

    learning_rate: a number, or a schedule: a callable from the update's number (from 0) to one,
        such as any `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        InputError: when a number is out of its range.
    """

    learning_rate: float | Schedule = 0.001
    slots: ClassVar[Mapping[str, float]] = {}  #: name, of this rule alone → initial value

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise InputError(problems)

    def _problems(self) -> Iterator[Problem]:
        rate = self.learning_rate
        if not callable(rate) and not (isfinite(rate) and rate > 0):
            yield Problem("learning_rate", f"expected a number > 0, got {rate}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and field.name in _FRACTIONS and not 0 <= value < 1:
                yield Problem(field.name, f"expected a number from 0 to below 1, got {value}")

    def update(
        self, variable: tf.Variable, slots: Mapping[str, tf.Variable], gradient: Any, number: Any
    ) -> None:
        """Apply one gradient to one variable. `number` counts updates from 1 (int64 scalar)."""
        rate = self.learning_rate
        value = rate(number - 1) if callable(rate) else rate
        handles = {name: slot.handle for name, slot in slots.items()}
        self._apply(variable.handle, handles, gradient, tf.cast(value, gradient.dtype), number)

    @abstractmethod
    def _apply(self, var: Any, slots: Mapping[str, Any], grad: Any, rate: Any, n: Any) -> None: ...


_FRACTIONS = ("beta_1", "beta_2", "rho", "momentum")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014), as `keras.optimizers.Adam`."""

    learning_rate: float | Schedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = _EPSILON
    slots: ClassVar[Mapping[str, float]] = {"first_moment": 0.0, "second_moment": 0.0}

    def _apply(self, var: Any, slots: Mapping[str, Any], grad: Any, rate: Any, n: Any) -> None:
        power = tf.cast(n, grad.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=var,
            m=slots["first_moment"],
            v=slots["second_moment"],
            beta1_power=tf.constant(self.beta_1, grad.dtype) ** power,
            beta2_power=tf.constant(self.beta_2, grad.dtype) ** power,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=grad,
            use_locking=True,
        )


@dataclass(frozen=True)
class Sgd(Optimizer):
    """Gradient descent with momentum, as `keras.optimizers.SGD`."""

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    slots: ClassVar[Mapping[str, float]] = {"momentum": 0.0}

    def _apply(self, var: Any, slots: Mapping[str, Any], grad: Any, rate: Any, n: Any) -> None:
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=var,
            accum=slots["momentum"],
            lr=rate,
            grad=grad,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
            use_locking=True,
        )


@dataclass(frozen=True)
class RmsProp(Optimizer):
    """RMSprop (Hinton, 2012), as `keras.optimizers.RMSprop`."""

    learning_rate: float | Schedule = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = _EPSILON
    slots: ClassVar[Mapping[str, float]] = {"mean_square": 0.0, "scaled_momentum": 0.0}

    def _apply(self, var: Any, slots: Mapping[str, Any], grad: Any, rate: Any, n: Any) -> None:
        tf.raw_ops.ResourceApplyRMSProp(
            var=var,
            ms=slots["mean_square"],
            mom=slots["scaled_momentum"],
            lr=rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=grad,
            use_locking=True,
        )


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011), as `keras.optimizers.Adagrad`."""

    learning_rate: float | Schedule = 0.001
    epsilon: float = _EPSILON
    slots: ClassVar[Mapping[str, float]] = {"accumulator": 0.1}

    def _apply(self, var: Any, slots: Mapping[str, Any], grad: Any, rate: Any, n: Any) -> None:
        tf.raw_ops.ResourceApplyAdagradV2(
            var=var,
            accum=slots["accumulator"],
            lr=rate,
            epsilon=self.epsilon,
            grad=grad,
            use_locking=True,
        )


OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "adam": Adam,
    "sgd": Sgd,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
}


def optimizer(name: str, learning_rate: float | Schedule | None = None) -> Optimizer:
    """Return the optimizer of a name, at its default learning rate unless one is given.

    Raises:
        InputError: for an unknown name, with the nearest known one, or a learning rate ≤ 0.
    """
    kind = OPTIMIZERS.get(name.lower())
    if kind is None:
        known = ", ".join(OPTIMIZERS)
        hint = nearest(name, OPTIMIZERS)
        raise InputError(Problem("optimizer", f"expected one of {known}, got {name!r}{hint}"))
    return kind() if learning_rate is None else kind(learning_rate)
