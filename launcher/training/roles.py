"""Playing the role that TF_CONFIG gives this process, with one call for every role.

`join` reads and normalises TF_CONFIG, forms the cluster and yields the task; a process that only
serves, or is not needed, ends there. `Task.fit` then trains, or evaluates, as the role asks. It
knows which pieces make a role; the pieces know nothing of each other's roles.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import keras
import tensorflow as tf

from launcher.errors import InputError, Problem, TfConfigError
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF
from launcher.tf_config import TfConfig
from launcher.training import evaluator, server
from launcher.training.checkpoint import Checkpoints
from launcher.training.coordinated import CoordinatedProgram
from launcher.training.data import Order, Source
from launcher.training.evaluation import Evaluation
from launcher.training.formation import gather, leave
from launcher.training.interruption import Interruption, reclaim
from launcher.training.learner import Learner, Variables
from launcher.training.local import LocalProgram
from launcher.training.loop import Loop, Program
from launcher.training.objective import Loss, Objective
from launcher.training.optimizer import Optimizer, optimizer
from launcher.training.progress import Progress, Summaries, figures, mark, say
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
        program = self._program(plain)
        checkpoints = Checkpoints(self.settings.checkpoints, plain) if plain else None
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


@contextmanager
def alone(*, num_gpus: int | None = None, threads: int | None = None) -> Iterator[Task]:
    """Yield this process as the only task, whatever TF_CONFIG says.

    num_gpus: how many of the GPUs it may use, all when None; threads: of TensorFlow's pools.
    """
    _configure(num_gpus, threads)
    devices = tf.config.list_logical_devices("GPU")
    several = len(devices) > 1
    yield Task(
        Role.TRAIN, tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
    )


@contextmanager
def join(
    strategy: str = "auto",
    *,
    start_timeout_s: float = 300.0,
    chief_gone_s: float = 120.0,
    num_gpus: int | None = None,
    threads: int | None = None,
) -> Iterator[Task]:
    """Yield this process as the task that TF_CONFIG makes it, once the cluster has formed.

    A process that serves ends here when the run is over; one that is not needed ends with 0. When
    the block ends well, the chief of parameter servers tells them so.

    strategy: auto, multi_worker_mirrored or parameter_server.
    start_timeout_s: the longest wait for the other tasks.
    chief_gone_s: how long a server stays after its chief was lost; without end where a launcher
        watches ($LAUNCH_SUPERVISED).

    Raises:
        InputError: when TF_CONFIG is missing or wrong, or an argument is.
    """
    _check_seconds(start_timeout_s=start_timeout_s, chief_gone_s=chief_gone_s)
    config = _read(strategy)
    if config.role is Role.NOT_NEEDED:
        say(f"{config.task} is not needed under {config.strategy}; nothing to do")
        leave(0)
    _configure(num_gpus, threads)
    if config.role is Role.SERVE:
        supervised = os.environ.get("LAUNCH_SUPERVISED") == "1"
        server.serve(config, start_timeout_s, None if supervised else chief_gone_s)
    yield _form(config, start_timeout_s)
    if config.role is Role.COORDINATE:
        server.announce(config)


def _read(strategy: str) -> TfConfig:
    """Return the normalised TF_CONFIG, and let TensorFlow see that one."""
    if strategy not in tuple(Strategy):
        expected = ", ".join(s.value for s in Strategy)
        raise InputError(Problem("strategy", f"expected one of {expected}, got {strategy!r}"))
    try:
        config = TfConfig.from_environ(strategy=Strategy(strategy))
    except TfConfigError as error:
        problems = tuple(Problem(f"TF_CONFIG {p.where}".strip(), p.what) for p in error.problems)
        raise TfConfigError(problems) from None
    if config is None:
        raise InputError(
            "TF_CONFIG is not set, so this process has no cluster to join. Expected "
            '{"cluster": {"chief": ["host:port"], "worker": [...]}, '
            '"task": {"type": "worker", "index": 0}} in the environment; '
            "`launch` sets it for every task of a cluster.yaml, and mnist_single needs none."
        )
    for finding in config.findings:
        say(f"TF_CONFIG: {finding}")
    os.environ["TF_CONFIG"] = config.to_json()
    return config


def _form(config: TfConfig, start_timeout_s: float) -> Task:
    """Build the role's strategy, which waits for the other tasks."""
    if config.role is Role.EVALUATE:
        return Task(Role.EVALUATE, tf.distribute.get_strategy())
    if config.task is None:
        return Task(Role.TRAIN, tf.distribute.get_strategy())
    peers = {task: config.address(task) for task in config.tasks if task != config.task}
    if config.role is Role.COORDINATE:
        gather(peers, start_timeout_s)
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        return Task(Role.COORDINATE, tf.distribute.ParameterServerStrategy(resolver))
    gather(peers, start_timeout_s, own=config.address(config.task))
    mirrored = tf.distribute.MultiWorkerMirroredStrategy()
    reclaim()
    return Task(Role.TRAIN, mirrored, config.is_chief)


def _configure(num_gpus: int | None, threads: int | None) -> None:
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if num_gpus is not None:
        if num_gpus < 0 or num_gpus > len(gpus):
            most = f"0 to {len(gpus)}, the GPUs that TensorFlow finds here"
            raise InputError(Problem("num_gpus", f"expected {most}, got {num_gpus}"))
        tf.config.set_visible_devices(gpus[:num_gpus], "GPU")
        gpus = gpus[:num_gpus]
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


def _check_seconds(**given: float) -> None:
    problems = [
        Problem(name, f"expected seconds > 0, got {value}")
        for name, value in given.items()
        if not (isfinite(value) and value > 0)
    ]
    if problems:
        raise InputError(problems)


__all__ = ["CHIEF", "Result", "Task", "alone", "join"]
