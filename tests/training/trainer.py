"""A user's own trainer, as docs/training.md teaches it: BatchNormalization and two outputs.

Run by the tests as real processes. It prints what came of it as one line of JSON.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from launcher import training

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", None, "", required=True)
flags.DEFINE_string("strategy", "auto", "")
flags.DEFINE_boolean("alone", False, "")
flags.DEFINE_boolean("pipeline", False, "")
flags.DEFINE_boolean("plain", False, "one dense layer, whose mathematics is the same everywhere")
flags.DEFINE_integer("epochs", 2, "")
flags.DEFINE_integer("examples", 200, "")
flags.DEFINE_integer("batch_size", 16, "")
flags.DEFINE_integer("checkpoint_steps", None, "")
flags.DEFINE_float("start_timeout_s", 60, "")
flags.DEFINE_float("chief_gone_s", 60, "")

LOSS = {"sign": keras.losses.BinaryCrossentropy(), "sum": keras.losses.mean_squared_error}


def build() -> keras.Model:
    inputs = keras.Input((4,))
    if FLAGS.plain:
        hidden = keras.layers.Dense(3, activation="tanh")(inputs)
    else:
        hidden = keras.layers.BatchNormalization(name="norm")(inputs)
        hidden = keras.layers.Dense(8, activation="tanh")(hidden)
        hidden = keras.layers.Dropout(0.1)(hidden)
    sign = keras.layers.Dense(1, activation="sigmoid", name="sign")(hidden)
    total = keras.layers.Dense(1, name="sum")(hidden)
    return keras.Model(inputs, {"sign": sign, "sum": total})


def examples() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    x = np.random.default_rng(7).normal(1.0, 1.0, (FLAGS.examples, 4)).astype(np.float32)
    total = x.sum(1, keepdims=True)
    return x, {"sign": (total > 4).astype(np.float32), "sum": total}


def pipeline(shard: training.Shard) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices(examples()).shard(shard.count, shard.index)
    return data.shuffle(1000, shard.seed).batch(shard.batch_size, drop_remainder=True)


def accuracy(labels: Any, outputs: Any) -> Any:
    return keras.metrics.binary_accuracy(labels["sign"], outputs["sign"])


def main(_: object) -> None:
    join = (
        training.alone(threads=1)
        if FLAGS.alone
        else training.join(
            FLAGS.strategy,
            start_timeout_s=FLAGS.start_timeout_s,
            chief_gone_s=FLAGS.chief_gone_s,
            threads=1,
        )
    )
    x, y = examples()
    whole = training.Arrays(x, y)
    train = training.Pipeline(pipeline, FLAGS.examples) if FLAGS.pipeline else whole
    with join as task:
        result = task.fit(
            model=build,
            loss=LOSS,
            optimizer=training.Adam(0.01),
            loss_weights={"sign": 1.0, "sum": 0.5},
            metrics={"accuracy": accuracy},
            train=train,
            test=whole,
            settings=training.Settings(
                output_dir=Path(FLAGS.output_dir),
                epochs=FLAGS.epochs,
                batch_size=FLAGS.batch_size,
                checkpoint_steps=FLAGS.checkpoint_steps,
            ),
        )
    report: dict[str, Any] = {"step": result.step, "updates": result.updates, **result.figures}
    if result.model:
        report["weights"] = [np.asarray(w).ravel().tolist() for w in result.model.get_weights()]
    print("RESULT " + json.dumps(report), flush=True)


if __name__ == "__main__":
    training.main(main)
