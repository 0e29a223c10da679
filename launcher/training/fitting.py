"""`Task.fit`: the pieces that make a role, put together for one model.

It knows which pieces a role is made of; the pieces know nothing of each other's roles. How a
process comes to be a task is `launcher.training.roles`'.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from launcher.errors import InputError
from launcher.strategy import Role
from launcher.training import evaluator
from launcher.training.checkpoint import Checkpoints
from launcher.training.coordinated import CoordinatedProgram
from launcher.training.data import Order, Source
from launcher.training.evaluation import Evaluation
from launcher.training.interruption import Interruption
from launcher.training.learner import Learner, Variables
from launcher.training.local import LocalProgram
from launcher.training.loop import Loop, Program
from launcher.training.objective import Loss, Objective
from launcher.training.optimizer import Optimizer, optimizer
from launcher.training.progress import Progress, Summaries, figures, mark
from launcher.training.settings import Settings


@dataclass(frozen=True, slots=True)
class Result:
    """What training led to.

    step: the last step; updates: how many were applied (more under parameter_server when a dead
        worker's steps were repeated).
    figures: `loss` and the metrics over the test examples (over the last epoch's training
        examples when there are none); empty on tasks that evaluate nothing.
    model: the trained model, free of any strategy, where it is to be saved; None elsewhere.
    """

    step: int
    updates: int
    figures: Mapping[str, float] = field(default_factory=dict)
    model: keras.Model | None = None

    def __str__(self) -> str:
        return figures(self.figures)


@dataclass(frozen=True)
class Task:
    """This process in its role: alone, or one task of a cluster that has formed."""

    role: Role
    strategy: Any
    is_chief: bool = True
    interruption: Interruption = field(default_factory=Interruption)

    @property
    def replicas(self) -> int:
        """How many replicas share the examples of one update: 1 under parameter servers."""
        shares = self.role is Role.TRAIN and self.strategy is not None
        return int(self.strategy.num_replicas_in_sync) if shares else 1

    def fit(
        self,
        *,
        model: Callable[[], keras.Model],
        loss: Loss,
        train: Source,
        settings: Settings,
        optimizer: Optimizer | str = "adam",
        metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        loss_weights: Mapping[str, float] | Sequence[float] | None = None,
        test: Source | None = None,
    ) -> Result:
        """Train the model that `model()` builds, or evaluate its checkpoints, as the role asks.

        Goes on from the last checkpoint. Every task of a cluster calls it with the same
        arguments; each must be able to read the data.

        Raises:
            InputError: when the arguments fit neither each other nor the cluster.
            SystemExit: with 42 when asked to stop by SIGTERM, once the state is saved.
        """
        rule = _optimizer(optimizer)
        objective = Objective(loss, metrics or {}, loss_weights)
        work = _Work(self, model, objective, rule, train, test, settings)
        return work.evaluate() if self.role is Role.EVALUATE else work.train()


@dataclass(frozen=True)
class _Work:
    """One call of `fit`."""

    task: Task
    build: Callable[[], keras.Model]
    objective: Objective
    optimizer: Optimizer
    source: Source
    test: Source | None
    settings: Settings

    def train(self) -> Result:
        if self.task.role is not Role.COORDINATE:
            self.settings.batch_per_replica(self.task.strategy.num_replicas_in_sync)
        plain = self._plain() if self.task.is_chief else None
        checkpoints = Checkpoints(self.settings.checkpoints, plain) if plain else None
        if checkpoints:
            checkpoints.make_directory()
        program = self._program(plain)
        progress = self._progress() if plain else None
        loop = Loop(program, self.settings, checkpoints, progress, self.task.interruption)
        with self.task.interruption.watched():
            updates = loop.run()
        if plain is None:
            return Result(loop.reached, updates)
        program.pull(plain.saved)
        return Result(loop.reached, updates, self._final(plain, loop), plain.model)

    def evaluate(self) -> Result:
        if self.test is None:
            raise InputError("an evaluator needs `test` examples")
        plain = self._plain()
        checkpoints = Checkpoints(self.settings.checkpoints, plain)
        evaluation = Evaluation(plain.model, self.objective, self.test)
        total = self.settings.total_steps(self._order().steps_per_epoch)
        summaries, interruption = self._summaries("eval"), self.task.interruption
        with interruption.watched():
            step, values = evaluator.follow(checkpoints, evaluation, total, summaries, interruption)
        return Result(step, int(checkpoints.updates), values)

    def _final(self, plain: Variables, loop: Loop) -> Mapping[str, float]:
        if self.test is None:
            return loop.figures
        values = Evaluation(plain.model, self.objective, self.test).run()
        mark("metrics", step=loop.reached, split="eval", final=True, **values)
        self._summaries("test").write(loop.reached, values)
        return values

    def _program(self, plain: Variables | None) -> Program:
        strategy, order = self.task.strategy, self._order()
        if plain and self._is_plain(strategy):
            variables = plain
        else:
            with strategy.scope():
                variables = self._variables(strategy.extended.colocate_vars_with)
        learner = Learner(variables, self.objective, self.optimizer, self.settings.seed)
        if self.task.role is Role.COORDINATE:
            coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
            return CoordinatedProgram(strategy, coordinator, learner, self.source, order)
        return LocalProgram(strategy, learner, self.source, order, self.task.is_chief)

    def _is_plain(self, strategy: Any) -> bool:
        return not tf.distribute.has_strategy() and strategy is tf.distribute.get_strategy()

    def _plain(self) -> Variables:
        """Return variables of this process alone: what is saved, evaluated and exported."""
        return self._variables(lambda variable: nullcontext())

    def _variables(self, colocate: Callable[[Any], AbstractContextManager[Any]]) -> Variables:
        example = self.source.example()[0]
        return Variables.create(self.build, self.optimizer, example, self.settings.seed, colocate)

    def _order(self) -> Order:
        settings = self.settings
        return Order(self.source.examples, settings.batch_size, settings.seed)

    def _progress(self) -> Progress:
        per_epoch = self._order().steps_per_epoch
        total = self.settings.total_steps(per_epoch)
        return Progress(total, per_epoch, self._summaries("train"))

    def _summaries(self, split: str) -> Summaries:
        return Summaries(self.settings.summaries / split)


def _optimizer(given: Optimizer | str) -> Optimizer:
    return optimizer(given) if isinstance(given, str) else given
