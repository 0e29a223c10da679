"""What a model is trained for: its loss, and the metrics that are counted beside it.

Every figure is a sum and a count, so that partial results of batches, replicas and workers add up
to the exact mean. Keras metric objects keep their state in variables that lose updates under
parameter servers; Keras metric *functions* have none and are used here. This file knows nothing
of variables, optimizers or strategies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

LossFunction = Callable[..., Any]
Loss = LossFunction | Mapping[str, LossFunction] | Sequence[LossFunction]


@dataclass(frozen=True)
class Objective:
    """A loss and metrics for the outputs of one model.

    loss: a Keras loss (object or function) or any callable `(labels, outputs) -> scalar or one
        value per example`; for several outputs a mapping or a sequence of them in the outputs'
        structure, whose sum is minimised.
    loss_weights: factors in the same structure.
    metrics: name → callable `(labels, outputs) -> values`, averaged over all examples, such as
        `keras.metrics.sparse_categorical_accuracy`; with several outputs it gets all of them.
    """

    loss: Loss
    metrics: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    loss_weights: Mapping[str, float] | Sequence[float] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The figures, in the order of `totals`."""
        return ("loss", *self.metrics)

    def value(self, labels: Any, outputs: Any, weights: Any = None) -> Any:
        """Return the mean loss of one batch, a scalar."""
        if callable(self.loss):
            return _mean_loss(self.loss, labels, outputs, weights)
        losses, factors = _parts(self.loss), _parts(self.loss_weights or {})
        shares = _parts(weights) if isinstance(weights, Mapping | list | tuple) else {}
        total = 0.0
        for key, loss in losses.items():
            share = shares.get(key, None if shares else weights)
            value = _mean_loss(loss, labels[key], outputs[key], share)
            total = total + factors.get(key, 1.0) * value
        return total

    def totals(self, loss: Any, labels: Any, outputs: Any) -> Any:
        """Return (sum, count) of every figure for one batch: float64, shape (figures, 2)."""
        examples = tf.cast(tf.shape(tf.nest.flatten(outputs)[0])[0], tf.float64)
        rows = [tf.stack([tf.cast(loss, tf.float64) * examples, examples])]
        for metric in self.metrics.values():
            values = tf.cast(metric(labels, outputs), tf.float64)
            rows.append(tf.stack([tf.reduce_sum(values), tf.cast(tf.size(values), tf.float64)]))
        return tf.stack(rows)

    def empty(self) -> Any:
        """Return the totals of no examples."""
        return tf.zeros((len(self.names), 2), tf.float64)

    def means(self, totals: Any) -> dict[str, float]:
        """Return figure → mean from summed totals; figures without examples are left out."""
        pairs = zip(self.names, totals, strict=True)
        return {name: float(total / count) for name, (total, count) in pairs if count}


def _parts(nest: Mapping[str, Any] | Sequence[Any]) -> dict[str | int, Any]:
    """Return the parts of a mapping or a sequence by their key or position."""
    return dict(nest.items() if isinstance(nest, Mapping) else enumerate(nest))


def _mean_loss(loss: LossFunction, labels: Any, outputs: Any, weights: Any) -> Any:
    if isinstance(loss, keras.losses.Loss):
        value = tf.reduce_mean(loss(labels, outputs, sample_weight=weights))
        return value * _divided_by(loss)
    values = loss(labels, outputs)
    return tf.reduce_mean(values if weights is None else values * tf.cast(weights, values.dtype))


def _divided_by(loss: keras.losses.Loss) -> float:
    """Return by what a Keras loss divides its mean: means are divided by the replicas, in Keras."""
    is_mean = loss.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")
    return float(tf.distribute.get_strategy().num_replicas_in_sync if is_mean else 1)
