"""One training step of one replica: gradients, what they are reduced with, and the update.

The model is called without side effects (`stateless_call`), so that a step is a pure function of
its variables' values: BatchNormalization's moving statistics come back as values and are averaged
over replicas, or added as differences on a parameter server, where no update may overwrite
another's. Dropout's seeds are made from the seed, the step and the replica: reproducible, never
equal on two replicas, and exact after a restart. This file knows nothing of roles or clusters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from launcher.errors import InputError
from launcher.training.objective import Objective
from launcher.training.optimizer import Optimizer

_SEED = "seed_generator_state"


class Update(NamedTuple):
    """What one batch asks for: tensors in the order of the learner's variables."""

    gradients: list[Any]  #: of the trainable variables
    state: list[Any]  #: new values of the other floating-point variables
    totals: Any  #: sums and counts of the objective's figures


@dataclass(frozen=True)
class Variables:
    """A model's variables and its optimizer's slot variables, in one fixed order."""

    model: keras.Model
    slots: Sequence[Mapping[str, tf.Variable]]

    @classmethod
    def create(
        cls,
        build: Callable[[], keras.Model],
        optimizer: Optimizer,
        example: Any,
        seed: int,
        colocate: Callable[[tf.Variable], Any],
    ) -> "Variables":
        """Build a model and its slot variables; `colocate(v)` is the scope a slot of v is made in.

        Raises:
            InputError: when what was built is no Keras model.
        """
        keras.utils.set_random_seed(seed)
        model = build()
        if not isinstance(model, keras.Model):
            raise InputError(f"model: expected a function that returns a keras.Model, got {model}")
        if not model.built:
            model(example)
        slots = []
        for variable in _values(model.trainable_variables):
            with colocate(variable):
                made = {n: _slot(variable, initial) for n, initial in optimizer.slots.items()}
            slots.append(made)
        return cls(model, tuple(slots))

    @property
    def trainable(self) -> list[tf.Variable]:
        return _values(self.model.trainable_variables)

    @property
    def state(self) -> list[tf.Variable]:
        """The variables that training changes without gradients, such as moving statistics."""
        return _values(v for v in self.model.non_trainable_variables if _is_state(v))

    @property
    def saved(self) -> list[tf.Variable]:
        """Everything that a restart needs, in an order that depends on the model alone."""
        slots = [slot for of_variable in self.slots for slot in of_variable.values()]
        return [*self.trainable, *self.state, *slots]


@dataclass(frozen=True)
class Learner:
    """Computes and applies the updates of one model."""

    variables: Variables
    objective: Objective
    optimizer: Optimizer
    seed: int

    def compute(self, batch: Any, step: Any, replica: Any, replicas: int) -> Update:
        """Return what one replica's batch asks for; nothing is changed.

        step: the update's number from 0 (int64); replica: among `replicas` (static).
        """
        x, y, weights = (*batch, None)[:3]
        model = self.variables.model
        values = [tf.convert_to_tensor(v) for v in self.variables.trainable]
        others = self._other_values(step * replicas + tf.cast(replica, tf.int64))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs, changed, extra = model.stateless_call(
                values, others, x, training=True, return_losses=True
            )
            loss = self.objective.value(y, outputs, weights)
            if extra:
                loss = loss + tf.add_n(extra)
        unconnected = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, values, unconnected_gradients=unconnected)
        pairs = zip(model.non_trainable_variables, changed, strict=True)
        state = [tf.convert_to_tensor(value) for v, value in pairs if _is_state(v)]
        totals = self.objective.totals(loss, y, outputs)
        return Update([tf.convert_to_tensor(g) for g in gradients], state, totals)

    def apply(self, update: Update, number: Any) -> None:
        """Change the variables; `number` counts updates from 1 (int64)."""
        self._apply_gradients(update, number)
        for variable, value in zip(self.variables.state, update.state, strict=True):
            tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)

    def add(self, update: Update, number: Any) -> None:
        """Change variables that others change at the same time: differences are added."""
        before = [tf.convert_to_tensor(v) for v in self.variables.state]
        self._apply_gradients(update, number)
        for v, new, old in zip(self.variables.state, update.state, before, strict=True):
            tf.raw_ops.AssignAddVariableOp(resource=v.handle, value=new - old)

    def _apply_gradients(self, update: Update, number: Any) -> None:
        variables = self.variables
        for v, slots, gradient in zip(
            variables.trainable, variables.slots, update.gradients, strict=True
        ):
            self.optimizer.update(v, slots, gradient, number)

    def _other_values(self, draw: Any) -> list[Any]:
        """Return the non-trainable values of a call; `draw` makes each call's randomness."""
        values = []
        for index, variable in enumerate(self.variables.model.non_trainable_variables):
            if variable.name == _SEED:
                key = tf.stack([tf.constant(self.seed + 7919 * index, tf.int64), draw * 4096])
                values.append(tf.cast(key, variable.dtype))
            else:
                values.append(tf.convert_to_tensor(variable.value))
        return values


def _values(variables: Any) -> list[tf.Variable]:
    return [variable.value for variable in variables]


def _is_state(variable: Any) -> bool:
    return variable.name != _SEED and bool(variable.value.dtype.is_floating)


def _slot(variable: tf.Variable, initial: float) -> tf.Variable:
    start = tf.fill(variable.shape, tf.constant(initial, variable.dtype))
    return tf.Variable(start, trainable=False, name="slot")
