"""Playing the role that TF_CONFIG gives this process, with one call for every role.

`join` reads and normalises TF_CONFIG, forms the cluster and yields the task; a process that only
serves, or is not needed, ends there. What a task then does with a model is
`launcher.training.fitting`'.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import tensorflow as tf

from launcher.address import Address
from launcher.errors import InputError, Problem, TfConfigError
from launcher.strategy import Role, Strategy
from launcher.task import TaskType
from launcher.tf_config import TfConfig
from launcher.training import server
from launcher.training.fitting import Task
from launcher.training.formation import gather, is_here, leave
from launcher.training.interruption import reclaim
from launcher.training.progress import say
from launcher.training.stacks import dump_on_signal


@contextmanager
def alone(*, num_gpus: int | None = None, threads: int | None = None) -> Iterator[Task]:
    """Yield this process as the only task, whatever TF_CONFIG says.

    num_gpus: how many of the GPUs it may use, all when None.
    threads: of each of TensorFlow's pools; as many as there are cores when None.
    """
    dump_on_signal()
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
    chief_gone_s: how long a server stays after its chief was lost; without end while a launcher
        watches ($LAUNCH_SUPERVISED).
    num_gpus: how many of the GPUs it may use, all when None.
    threads: of each of TensorFlow's pools; when None, tasks that train together share the cores
        with those at the same address.

    Raises:
        InputError: when TF_CONFIG is missing or wrong, or an argument is.
    """
    dump_on_signal()
    _check_seconds(start_timeout_s=start_timeout_s, chief_gone_s=chief_gone_s)
    config = _read(strategy)
    if config.role is Role.NOT_NEEDED:
        say(f"{config.task} is not needed under {config.strategy}; nothing to do")
        leave(0)
    _configure(_own_gpus(config, num_gpus), threads or _share_of_cores(config))
    if config.role is Role.SERVE:
        server.serve(config, start_timeout_s, chief_gone_s)
    yield _form(config, start_timeout_s)
    if config.role is Role.COORDINATE:
        server.announce(config)


def _read(strategy: str) -> TfConfig:
    """Return the normalised TF_CONFIG, and let TensorFlow see that one."""
    if strategy not in tuple(Strategy):
        expected = ", ".join(s.value for s in Strategy)
        raise InputError(Problem("strategy", f"expected one of {expected}, got {strategy!r}"))
    try:
        config = TfConfig.from_environ(strategy=Strategy(strategy), is_here=is_here)
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


def _own_gpus(config: TfConfig, num_gpus: int | None) -> int | None:
    """Return how many of the GPUs that it is told of a task can use.

    A platform gives all tasks of a node the same arguments, and its ps sees none of the GPUs.
    """
    if num_gpus and config.task and config.task.type is TaskType.PS:
        return min(num_gpus, len(tf.config.list_physical_devices("GPU")))
    return num_gpus


def _share_of_cores(config: TfConfig) -> int | None:
    """Return this task's part of the cores that it shares with tasks on the same host.

    Tasks that train together compute at the same time: with a thread each for every core they
    would wait for each other's threads in every step. Under parameter servers they take turns,
    and TensorFlow's own choice is faster.
    """
    if config.role is not Role.TRAIN or config.task not in config.tasks:
        return None
    here = Address.parse(config.address(config.task)).host
    beside = sum(Address.parse(config.address(task)).host == here for task in config.tasks)
    told = os.environ.get("LAUNCH_HOST_TASKS", "")  # where each task has a name of its own
    return max(
        1, len(os.sched_getaffinity(0)) // (int(told) if told.isdecimal() and int(told) else beside)
    )


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
