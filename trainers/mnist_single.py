"""Trains a classifier of handwritten digits in one process; mnist_dist trains it on a cluster.

    python trainers/mnist_single.py --data_dir trainers/data --output_dir /tmp/mnist

Run again with the same --output_dir it goes on from its last checkpoint. The last line it prints
is `loss=… accuracy=…` over the test images.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors stay visible
# Results differ by processor with it, and it says so at every start whatever the level of logs.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
from pathlib import Path

import keras
import mnist_data
import tensorflow as tf
import yaml
from absl import flags

from launcher import training
from launcher.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("work_dir", "/data", "where the platform puts the code")
flags.DEFINE_string("data_dir", "/data/data", "holds mnist.npz or the four idx files")
flags.DEFINE_string("output_dir", "/data/output", "checkpoints, summaries and the model go here")
flags.DEFINE_integer("num_gpus", 0, "how many GPUs to train on; 0 trains on the CPU")
flags.DEFINE_string("model_dir", None, "where the model goes, if not to --output_dir")
flags.DEFINE_string("train_config", None, "a YAML file: optimizer, train_epochs, batch_size")
flags.DEFINE_integer("epochs", 2, "passes over the training images")
flags.DEFINE_integer("max_step", None, "stop after this many updates")
flags.DEFINE_integer(
    "batch_size", None,
    "images an update, over all replicas together (default: 32, or what they can share evenly)",
)  # fmt: skip
flags.DEFINE_string("optimizer", "adam", "adam, sgd, rmsprop or adagrad")
flags.DEFINE_float("learning_rate", None, "the optimizer's own default if not given")
flags.DEFINE_integer("seed", 0, "of initial weights, order of the images and dropout")
flags.DEFINE_integer("checkpoint_steps", None, "also a checkpoint every so many steps")


def build_model() -> keras.Model:
    """Return the classifier: images (28, 28) in [0, 1] → 10 probabilities."""
    return keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="mnist",
    )


def scale(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return uint8 images as numbers in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0, tf.cast(labels, tf.int64)


def fit(task: training.Task) -> None:
    """Play this task's role with the digits, and save the model where it is to be saved."""
    settings, optimizer = from_flags(task.replicas)
    data = mnist_data.load(FLAGS.data_dir)
    result = task.fit(
        model=build_model,
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics={"accuracy": keras.metrics.sparse_categorical_accuracy},
        optimizer=optimizer,
        train=training.Arrays(data.train_images, data.train_labels, scale),
        test=training.Arrays(data.test_images, data.test_labels, scale),
        settings=settings,
    )
    if result.model:
        save(result.model)
    if result.figures:
        print(result, flush=True)


def save(model: keras.Model) -> None:
    """Write mnist.keras, mnist.h5 and a SavedModel that serves images, uint8 or in [0, 1]."""

    serve_uint8 = tf.function(
        lambda images: model(tf.cast(images, tf.float32) / 255.0),
        input_signature=[tf.TensorSpec((None, 28, 28), tf.uint8, "images")],
    )
    directory = Path(FLAGS.model_dir or FLAGS.output_dir)
    *_, saved = training.save(model, directory, "mnist", {"serve_uint8": serve_uint8})
    print(f"the model is in {directory}: {saved.name}, {saved.name}.keras, {saved.name}.h5")


def from_flags(replicas: int) -> tuple[training.Settings, training.Optimizer]:
    """Return what the flags ask for; a flag that was given wins over --train_config.

    Where neither says a batch size it is 32, or the next size that the replicas share evenly.
    """
    asked = {"optimizer": FLAGS.optimizer, "train_epochs": FLAGS.epochs}
    asked["batch_size"] = -(-32 // replicas) * replicas
    if FLAGS.batch_size is not None:
        asked["batch_size"] = FLAGS.batch_size
    asked |= train_config(FLAGS.train_config) if FLAGS.train_config else {}
    settings = training.Settings(
        output_dir=Path(FLAGS.output_dir),
        epochs=asked["train_epochs"],
        batch_size=asked["batch_size"],
        max_step=FLAGS.max_step,
        seed=FLAGS.seed,
        log_dir=Path(FLAGS.log_dir) if FLAGS.log_dir else None,
        checkpoint_steps=FLAGS.checkpoint_steps,
    )
    return settings, training.optimizer(asked["optimizer"], FLAGS.learning_rate)


def train_config(path: str) -> dict[str, object]:
    """Return what a train.yaml asks for, less what a flag on the command line says instead."""
    names = {"optimizer": str, "train_epochs": int, "batch_size": int}
    try:
        given = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(given, dict) or not given.keys() <= names.keys():
        raise InputError(f"{path}: expected a mapping with the keys {', '.join(names)}")
    for name, value in given.items():
        if type(value) is not names[name]:
            raise InputError(f"{path} {name}: expected {names[name].__name__}, got {value!r}")
    return {n: v for n, v in given.items() if not FLAGS[n.removeprefix("train_")].present}


def main(_: object) -> None:
    with training.alone(num_gpus=FLAGS.num_gpus) as task:
        fit(task)


if __name__ == "__main__":
    training.main(main, bad_input=(mnist_data.DataError,))
