"""Steps scheduled on workers that share variables on parameter servers.

Every call a worker gets is several steps long; one step is one update from one worker's batch.
The coordinator chooses the examples, so that each is used once an epoch whichever worker takes
them, also when a worker dies and its call is given to another. Figures and the counter of updates
are added on the parameter server. This file knows nothing of how servers end or what is saved.
"""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from launcher.training.data import Arrays, Order, Shard, Source
from launcher.training.learner import Learner
from launcher.training.local import Performed, summed

_STEPS_PER_CALL = 25


class CoordinatedProgram:
    """Runs training steps through a `ClusterCoordinator`; variables live on the ps tasks."""

    call_s = 2.0  # at the end of each, workers wait for the slowest

    def __init__(
        self, strategy: Any, coordinator: Any, learner: Learner, source: Source, order: Order
    ) -> None:
        self.learner = learner
        self.source = source
        self.order = order
        self.is_chief = True
        self._coordinator = coordinator
        self._feed: Any = None
        self._seconds = 0.0
        with strategy.scope():
            self._updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
            self._totals = tf.Variable(learner.objective.empty(), trainable=False, name="totals")
        self._call = tf.function(self._steps, autograph=False)

    def run(self, step: int, count: int, stop: bool) -> Performed:
        """Schedule `count` steps from `step` on and wait for them all, unless asked to stop."""
        if stop:
            return Performed(0, self.learner.objective.empty().numpy(), True, self._seconds)
        feed = self._open()
        started = time.monotonic()
        rows = self.order.rows(step, count)
        whole = np.resize(rows, (-(-count // _STEPS_PER_CALL) * _STEPS_PER_CALL, rows.shape[1]))
        for first in range(0, count, _STEPS_PER_CALL):
            part = tf.constant(whole[first : first + _STEPS_PER_CALL])  # one shape: traced once
            steps = tf.constant(min(_STEPS_PER_CALL, count - first))
            number = tf.constant(step + first, tf.int64)
            self._coordinator.schedule(self._call, args=(feed, part, steps, number))
        self._coordinator.join()
        totals = self._totals.numpy()
        self._totals.assign(tf.zeros_like(totals))
        self._seconds = (time.monotonic() - started) / count
        return Performed(count, totals, False, self._seconds)

    def updates(self, step: int) -> int:
        """Return the updates made: more than `step` where a dead worker's steps were repeated."""
        del step
        return int(self._updates.numpy())

    def pull(self, plain: list[tf.Variable]) -> None:
        """Copy the parameter servers' values to plain variables of this process."""
        for target, variable in zip(plain, self.learner.variables.saved, strict=True):
            target.assign(variable.read_value())

    def push(self, plain: list[tf.Variable] | None, counters: tuple[int, ...]) -> tuple[int, ...]:
        """Give plain values and the counters (step, updates) to the parameter servers."""
        for source, variable in zip(plain or (), self.learner.variables.saved, strict=True):
            variable.assign(source.read_value())
        self._updates.assign(counters[1])
        return counters

    def agree(self, numbers: tuple[float, ...]) -> bool:
        """Return whether every task that trains is asked for the same: only this one is."""
        del numbers
        return True

    def _open(self) -> Any:
        if self._feed is None:
            tf.random.set_seed(None)  # pipelines shuffle differently on each worker
            dataset = self._coordinator.create_per_worker_dataset(self._dataset)
            self._feed = iter(dataset)
        return self._feed

    def _dataset(self) -> tf.data.Dataset:
        """Return a worker's dataset: all arrays as one element, or the pipeline without end."""
        if isinstance(self.source, Arrays):
            return tf.data.Dataset.from_tensors(self.source.arrays).repeat()
        return self.source.make(Shard(0, 1, self.order.batch_size, 0, None)).repeat()

    # inside the tf.function, on a worker

    def _steps(self, feed: Any, rows: Any, count: Any, first: Any) -> None:
        opened = feed.get_next() if isinstance(self.source, Arrays) else feed

        def step(index: Any) -> Any:
            batch = self.source.batch(opened, rows[index])
            update = self.learner.compute(batch, first + tf.cast(index, tf.int64), 0, 1)
            self.learner.add(update, self._updates.assign_add(1, read_value=True))
            return update.totals

        self._totals.assign_add(summed(step, count, self.learner.objective.empty()))
