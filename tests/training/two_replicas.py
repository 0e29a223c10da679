"""Two replicas in one process against one: prints the largest difference of their weights.

Two logical CPUs stand in for two GPUs.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from launcher import training
from launcher.strategy import Role

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def build() -> keras.Model:
    dense = keras.layers.Dense(4, "tanh", kernel_regularizer="l2")
    return keras.Sequential([keras.layers.Input((3,)), dense, keras.layers.Dense(1)])


def pipeline(shard: training.Shard) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shard(shard.count, shard.index)
    return data.batch(shard.batch_size, drop_remainder=True)


def weights(strategy: Any, source: Any, directory: Path, epochs: int) -> list[Any]:
    task = training.Task(Role.TRAIN, strategy)
    settings = training.Settings(output_dir=directory, epochs=epochs, batch_size=8)
    loss = keras.losses.MeanSquaredError()
    result = task.fit(model=build, loss=loss, train=source, settings=settings)
    assert result.model
    return list(result.model.get_weights())


def main(out: Path) -> None:
    logical = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name, source in (
        ("arrays", training.Arrays(X, Y)),
        ("pipeline", training.Pipeline(pipeline, 40)),
    ):
        one = weights(tf.distribute.get_strategy(), source, out / name / "one", 3)
        weights(two, source, out / name / "two", 1)
        both = weights(two, source, out / name / "two", 3)
        apart = max(float(np.abs(a - b).max()) for a, b in zip(one, both, strict=True))
        print(f"{name}: {apart:g} apart")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
