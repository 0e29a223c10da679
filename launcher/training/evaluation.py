"""The exact figures of a model over a whole data set, in one process.

Knows no strategy: under one, the chief evaluates plain copies of the variables, so that no
collective follows the end of training.
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from launcher.training.data import Pipeline, Shard, Source
from launcher.training.objective import Objective

_BATCH = 256


class Evaluation:
    """Evaluates one model on one source, as often as asked."""

    def __init__(self, model: keras.Model, objective: Objective, source: Source) -> None:
        self._model = model
        self._objective = objective
        self._source = source
        self._call = tf.function(self._totals, autograph=False, reduce_retracing=True)

    def run(self) -> dict[str, float]:
        """Return figure → mean over every example of the source, each counted once."""
        totals = self._objective.empty()
        for feed, rows in self._feeds():
            totals += self._call(feed, rows)
        return self._objective.means(totals.numpy())

    def _feeds(self) -> Iterator[tuple[Any, Any]]:
        """Yield what a call is made with, for each batch."""
        if isinstance(self._source, Pipeline):
            for batch in self._source.make(Shard(0, 1, _BATCH, 0, 0)):
                yield batch, None
            return
        resident = tf.nest.map_structure(tf.constant, self._source.arrays)
        for first in range(0, self._source.examples, _BATCH):
            yield resident, tf.range(first, min(first + _BATCH, self._source.examples))

    def _totals(self, feed: Any, rows: Any) -> Any:
        batch = feed if rows is None else self._source.batch(feed, rows)
        x, y, weights = (*batch, None)[:3]
        outputs = self._model(x, training=False)
        loss = self._objective.value(y, outputs, weights)
        if self._model.losses:
            loss = loss + tf.add_n(self._model.losses)
        return self._objective.totals(loss, y, outputs)
