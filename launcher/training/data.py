"""Where examples come from: arrays that stay resident, or any tf.data pipeline.

Both serve every strategy. `Arrays` are kept whole by each training process and one batch is
gathered inside the training function; which examples form update k follows from the seed and k
alone, so that a restart goes on with exactly the next ones, whatever the number of workers.
`Pipeline` is a function of the user's that builds a dataset for one shard and one epoch. This
file knows nothing of models or of who runs it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from launcher.errors import InputError, Problem

Nest = Any  #: an array or tensor, or a dict, tuple or list of them


@dataclass(frozen=True, slots=True)
class Shard:
    """What a pipeline is asked for: one reader's part of one epoch.

    index, count: this reader takes every `count`-th example, from `index` on. Under
        parameter_server each worker reads everything in an order of its own: 0 of 1.
    batch_size: examples of one batch of this reader (not the global batch).
    epoch: from 0.
    seed: for shuffling: differs with the epoch, equal for all shards; None under
        parameter_server, where each worker must shuffle in a way of its own.
    """

    index: int
    count: int
    batch_size: int
    epoch: int
    seed: int | None


class Arrays:
    """Examples held in memory: `inputs` and `labels`, nests of arrays with equal first axes.

    prepare: applied to each gathered batch inside the training function, on its device:
        `(inputs, labels) -> (inputs, labels)`, e.g. a cast from uint8 and a scaling.

    An epoch has ceil(examples / batch_size) updates; its last batch is filled up from the start
    of the epoch's order, so that every update has a whole batch. Under parameter_server the
    arrays are sent once to every worker: use `Pipeline` above about 1 GB.

    Raises:
        InputError: when there are no examples, or the first axes differ.
    """

    def __init__(
        self, inputs: Nest, labels: Nest, prepare: Callable[[Any, Any], Any] | None = None
    ) -> None:
        self.arrays = (inputs, labels)
        self.prepare = prepare or (lambda x, y: (x, y))
        counts = {len(array) for array in tf.nest.flatten(self.arrays)}
        if len(counts) != 1 or 0 in counts:
            found = ", ".join(map(str, sorted(counts)))
            raise InputError(Problem("data", f"expected as many labels as inputs, got {found}"))
        self.examples = counts.pop()

    def batch(self, resident: Nest, rows: Any) -> Nest:
        """Return the prepared batch of the examples in `rows` (int32); used inside functions."""
        return self.prepare(*tf.nest.map_structure(lambda a: tf.gather(a, rows), resident))

    def example(self) -> Nest:
        """Return one prepared batch of one example, which shows shapes and types."""
        first = tf.nest.map_structure(lambda array: tf.constant(array[:1]), self.arrays)
        return self.prepare(*first)


class Pipeline:
    """Examples from tf.data: `make(shard) -> tf.data.Dataset` of batches (x, y) or (x, y, weight).

    examples: how many there are in one epoch over all shards; it sets the updates of an epoch,
        so that no reader ever decides alone when an epoch ends. A pipeline that ends earlier
        starts again within the epoch.
    """

    def __init__(self, make: Callable[[Shard], tf.data.Dataset], examples: int) -> None:
        if examples < 1:
            raise InputError(Problem("data", f"expected examples ≥ 1, got {examples}"))
        self.make = make
        self.examples = examples

    def batch(self, iterator: Any, rows: Any) -> Nest:
        """Return the iterator's next batch; used inside functions."""
        del rows
        return iterator.get_next()

    def example(self) -> Nest:
        """Return one batch, which shows shapes and types."""
        return next(iter(self.make(Shard(0, 1, 1, 0, 0))))


Source = Arrays | Pipeline


@dataclass(slots=True)
class Order:
    """Which examples form which update, from the seed alone. Keeps one epoch's permutation."""

    examples: int
    batch_size: int
    seed: int
    _epoch: int = -1
    _permutation: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def steps_per_epoch(self) -> int:
        """Updates of one epoch: ceil(examples / batch_size)."""
        return -(-self.examples // self.batch_size)

    def rows(self, step: int, count: int) -> NDArray[np.int32]:
        """Return the examples of `count` updates from `step` on: (count, batch_size)."""
        taken = []
        while count:
            epoch, first = divmod(step, self.steps_per_epoch)
            steps = min(count, self.steps_per_epoch - first)
            taken.append(self._epoch_rows(epoch)[first : first + steps])
            step, count = step + steps, count - steps
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def _epoch_rows(self, epoch: int) -> NDArray[np.int32]:
        if epoch != self._epoch:
            shuffled = np.random.default_rng((self.seed, epoch)).permutation(self.examples)
            size = self.steps_per_epoch * self.batch_size
            rows = np.resize(shuffled.astype(np.int32), size)
            self._permutation = rows.reshape(self.steps_per_epoch, self.batch_size)
            self._epoch = epoch
        return self._permutation
