"""What runs inside a task: train your own Keras 3 model alone or in a cluster, with the same lines.

    with training.join() as task:              # or training.alone()
        result = task.fit(model=build, loss=…, train=training.Arrays(x, y), settings=…)
    print(result)

It imports TensorFlow and the plain modules below it (task, strategy, tf_config, markers, errors);
nothing else of the launcher imports it. docs/training.md is the guide.
"""

from launcher.training.data import Arrays, Pipeline, Shard
from launcher.training.ending import main
from launcher.training.export import save
from launcher.training.fitting import Result, Task
from launcher.training.interruption import STOPPED
from launcher.training.optimizer import (
    OPTIMIZERS,
    Adagrad,
    Adam,
    Optimizer,
    RmsProp,
    Sgd,
    optimizer,
)
from launcher.training.roles import alone, join
from launcher.training.settings import Settings

__all__ = [
    "OPTIMIZERS",
    "STOPPED",
    "Adagrad",
    "Adam",
    "Arrays",
    "Optimizer",
    "Pipeline",
    "Result",
    "RmsProp",
    "Settings",
    "Sgd",
    "Shard",
    "Task",
    "alone",
    "join",
    "main",
    "optimizer",
    "save",
]
