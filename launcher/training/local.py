"""Many steps in one call on this process' replicas: alone, mirrored, or with other workers.

The whole loop runs inside one tf.function. Where there are several replicas, one flat vector
holds every gradient, every changed statistic and the figures, and is reduced once a step: an
all-reduce costs more by its number than by its length. At the start of each call the workers also
agree on whether one of them was asked to stop, and on the pace, so that all run the same number
of steps and no one waits in a collective that its peers have left.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from launcher.training.data import Arrays, Order, Pipeline, Shard, Source
from launcher.training.learner import Learner, Update


class Performed(NamedTuple):
    """What one call did."""

    steps: int  #: performed; none when stopping
    totals: Any  #: sums and counts of the objective's figures
    is_stopping: bool  #: some worker was asked to stop
    seconds_per_step: float  #: as all workers agree, for the pace; 0 when unknown


class LocalProgram:
    """Runs training steps on the replicas of a synchronous strategy (or of none)."""

    call_s = 0.4

    def __init__(
        self, strategy: Any, learner: Learner, source: Source, order: Order, is_chief: bool
    ) -> None:
        self.strategy = strategy
        self.learner = learner
        self.source = source
        self.order = order
        self.is_chief = is_chief
        self.replicas: int = strategy.num_replicas_in_sync
        self.share = order.batch_size // self.replicas
        alone = self.replicas == 1
        self._local: int = 1 if alone else len(strategy.extended.worker_devices)
        self._feed: Any = None
        self._epoch = -1
        self._seconds = 0.0
        self._call: Any = None

    def run(self, step: int, count: int, stop: bool) -> Performed:
        """Perform `count` updates from `step` on, within one epoch, unless a worker must stop."""
        feed = self._open(step)
        rows = self.order.rows(step, count)
        control = np.array([float(stop), self._seconds], np.float32)
        started = time.monotonic()
        arguments = (feed, tf.constant(rows), tf.constant(step, tf.int64), tf.constant(control))
        if self._call is None:
            self._call = self._traced(feed)
        agreed, performed, totals = self._call(*arguments)
        steps = int(performed)
        stops, seconds = agreed.numpy()
        self._seconds = (time.monotonic() - started) / max(steps, 1)
        return Performed(steps, totals.numpy(), bool(stops > 0), float(seconds))

    def updates(self, step: int) -> int:
        """Return the updates made until `step`: synchronous replicas make one a step."""
        return step

    def pull(self, plain: list[tf.Variable]) -> None:
        """Copy this run's values to plain variables."""
        for target, variable in zip(plain, self.learner.variables.saved, strict=True):
            if target is not variable:
                target.assign(variable.read_value())

    def push(self, plain: list[tf.Variable] | None, counters: tuple[int, ...]) -> tuple[int, ...]:
        """Give the chief's values to every replica; return the chief's counters.

        plain, counters: the chief's; elsewhere not looked at. Needs no file that is shared.
        """
        own = self.learner.variables.saved
        if plain is not None and all(a is b for a, b in zip(plain, own, strict=True)):
            return counters
        given = plain if self.is_chief and plain is not None else [tf.zeros_like(v) for v in own]
        numbers = np.array(counters if self.is_chief else [0] * len(counters), np.float64)
        values = unpacked(self._broadcast(packed(given)), own)
        for variable, value in zip(own, values, strict=True):
            variable.assign(value)
        return tuple(int(number) for number in self._broadcast(tf.constant(numbers)).numpy())

    def agree(self, numbers: tuple[float, ...]) -> bool:
        """Return whether every worker gives the same numbers (all must call this)."""
        mine = tf.constant(numbers, tf.float64)
        chiefs = self._broadcast(mine if self.is_chief else tf.zeros_like(mine))
        differs = tf.cast(tf.reduce_any(chiefs != mine), tf.float32)
        return float(self._reduce_once(differs)) == 0

    def _open(self, step: int) -> Any:
        """Return what a call reads from: resident arrays, or the iterator of the step's epoch."""
        if isinstance(self.source, Arrays):
            if self._feed is None:
                self._feed = tf.nest.map_structure(tf.constant, self.source.arrays)
            return self._feed
        epoch, skipped = divmod(step, self.order.steps_per_epoch)
        if epoch != self._epoch:
            self._feed, self._epoch = self._iterator(self.source, epoch, skipped), epoch
        return self._feed

    def _iterator(self, pipeline: Pipeline, epoch: int, skipped: int) -> Any:
        strategy = self.strategy
        readers = self.replicas // self._local
        index = strategy.cluster_resolver.task_id if readers > 1 else 0
        if readers > 1 and strategy.cluster_resolver.task_type == "worker":
            index += len(strategy.cluster_resolver.cluster_spec().as_dict().get("chief", ()))
        seed = int(np.random.default_rng((self.order.seed, epoch)).integers(2**31))
        dataset = pipeline.make(Shard(index, readers, self.share, epoch, seed))
        return iter(dataset.repeat().skip(skipped * self._local))

    def _traced(self, feed: Any) -> Any:
        """Return the function of any number of steps, traced once."""
        width = self.order.batch_size
        rows, step = tf.TensorSpec((None, width), tf.int32), tf.TensorSpec((), tf.int64)
        control = tf.TensorSpec((2,), tf.float32)
        return tf.function(self._steps, autograph=False).get_concrete_function(
            feed, rows, step, control
        )

    # inside the tf.function

    def _steps(self, feed: Any, rows: Any, first: Any, control: Any) -> tuple[Any, Any, Any]:
        agreed = self._reduce(control) / self.replicas
        count = tf.where(agreed[0] > 0, 0, tf.shape(rows)[0])

        def step(index: Any) -> Any:
            arguments = (feed, rows[index], first + tf.cast(index, tf.int64))
            done = self.strategy.run(self._replica_step, args=arguments)
            return self.strategy.experimental_local_results(done)[0]

        return agreed, count, summed(step, count, self.learner.objective.empty())

    def _replica_step(self, feed: Any, row: Any, step: Any) -> Any:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        if isinstance(self.source, Arrays):
            row = tf.slice(row, [replica * self.share], [self.share])
        batch = self.source.batch(feed, row)
        update = self.learner.compute(batch, step, replica, self.replicas)
        if self.replicas > 1:
            update = self._reduced(update)
        self.learner.apply(update, step + 1)
        return update.totals

    def _reduced(self, update: Update) -> Update:
        """Return the mean gradients and statistics and the summed figures of all replicas."""
        gradients, state = update.gradients, update.state
        totals = tf.cast(update.totals, tf.float32)  # of one step: few, and small
        parts = [*gradients, *state, totals]
        context = tf.distribute.get_replica_context()
        whole = unpacked(context.all_reduce(tf.distribute.ReduceOp.SUM, packed(parts)), parts)
        mean = [value / self.replicas for value in whole[:-1]]
        count = len(gradients)
        return Update(mean[:count], mean[count:], tf.cast(whole[-1], tf.float64))

    # collectives outside the loop

    def _broadcast(self, tensor: Any) -> Any:
        """Return the sum over workers: the chief's values where all others give zeros."""
        return self._reduce_once(tensor) / tf.cast(self._local, tensor.dtype)

    def _reduce_once(self, tensor: Any) -> Any:
        return tf.function(self._reduce, autograph=False)(tensor)

    def _reduce(self, tensor: Any) -> Any:
        """Return the sum over replicas, by one collective: several could meet in wrong pairs."""
        if self.replicas == 1:
            return tensor

        def reduce(given: Any) -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(given))

        reduced = self.strategy.run(reduce, args=(tensor,))
        return self.strategy.experimental_local_results(reduced)[0]


def summed(step: Callable[[Any], Any], count: Any, zero: Any) -> Any:
    """Return the sum of `step(index)` for `count` indices, one after the other, in the graph.

    A while_loop and no AutoGraph, which would take longer to convert this than to trace it.
    """
    start = (tf.constant(0), zero)
    _, total = tf.while_loop(lambda i, _: i < count, lambda i, t: (i + 1, t + step(i)), start)
    return total


def packed(tensors: Sequence[Any]) -> Any:
    """Return one vector of all the tensors, in the widest of their floating types."""
    wide = tf.float64 if any(t.dtype == tf.float64 for t in tensors) else tf.float32
    return tf.concat([tf.reshape(tf.cast(t, wide), [-1]) for t in tensors], 0)


def unpacked(vector: Any, like: Sequence[Any]) -> list[Any]:
    """Return the tensors that `vector` holds, in the shapes and types of `like`."""
    pieces = tf.split(vector, [t.shape.num_elements() for t in like])
    return [
        tf.cast(tf.reshape(piece, t.shape), t.dtype) for piece, t in zip(pieces, like, strict=True)
    ]
