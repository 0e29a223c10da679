"""The reference: what TensorFlow's beginner tutorial teaches, timed by epoch.

python bench/training/plain_fit.py DATA_DIR SEED EPOCHS
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras
import numpy as np


class Timer(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is not typed
    """Prints the seconds of each epoch."""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        print(f"\nepoch {epoch + 1} ({time.monotonic() - self.started:.2f} s)", flush=True)


def main(data_dir: str, seed: str, epochs: str) -> None:
    keras.utils.set_random_seed(int(seed))
    with np.load(Path(data_dir) / "mnist.npz") as data:
        x_train, y_train, x_test, y_test = (
            data[k] for k in ("x_train", "y_train", "x_test", "y_test")
        )
    x_train, x_test = x_train / 255.0, x_test / 255.0
    model = keras.models.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=int(epochs), callbacks=[Timer()])
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"loss={loss:.4f} accuracy={accuracy:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
