"""One process: training, going on, and what is refused, without starting another process."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from launcher import training
from launcher.errors import InputError

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X.sum(1, keepdims=True)


def build() -> keras.Model:
    return keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dense(4, "tanh", kernel_regularizer="l2"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )


def fit(directory: Path, epochs: int, **given: object) -> training.Result:
    arguments: dict[str, Any] = {
        "model": build,
        "loss": keras.losses.MeanSquaredError(),
        "train": training.Arrays(X, Y),
        "settings": training.Settings(output_dir=directory, epochs=epochs, batch_size=8),
    }
    with training.alone() as task:
        return task.fit(**{**arguments, **given})


def test_a_restart_is_exact(tmp_path: Path) -> None:
    """Two starts lead to the very weights of one: order, dropout, slots and statistics go on."""
    whole = fit(tmp_path / "whole", 4)
    fit(tmp_path / "parts", 2)
    parts = fit(tmp_path / "parts", 4)
    assert parts.step == whole.step == 20
    assert whole.model
    assert parts.model
    for ours, one in zip(parts.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, one)


def test_moving_statistics_are_kept(tmp_path: Path) -> None:
    """BatchNormalization's moving mean is what Keras' rule gives for the batches in order."""
    result = fit(tmp_path, 1)
    expected = np.zeros(3)
    for rows in training.data.Order(40, 8, 0).rows(0, 5):
        expected = 0.9 * expected + 0.1 * X[rows].mean(0)
    assert result.model
    norm = result.model.layers[0]
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    """Started again at its last step, a run only evaluates, with the same figures."""
    test = training.Arrays(X, Y)
    first, second = (fit(tmp_path, 2, test=test) for _ in range(2))
    assert first == second or first.figures == second.figures
    assert second.step == 10


def test_checkpoints_can_be_read_by_tensorflow_alone(tmp_path: Path) -> None:
    """A checkpoint restores into any copy of the model by tf.train.Checkpoint."""
    result = fit(tmp_path, 1)
    model = build()
    path = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    tf.train.Checkpoint(model=model).restore(path).expect_partial()
    assert result.model
    for ours, one in zip(model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, one)


def test_another_model_is_refused(tmp_path: Path) -> None:
    """A checkpoint of another model or optimizer is refused, not half restored."""
    fit(tmp_path, 1)
    with pytest.raises(InputError, match="written with another model or optimizer"):
        fit(tmp_path, 2, optimizer="sgd")
    with pytest.raises(InputError, match="written with another model or optimizer"):
        fit(tmp_path, 2, model=lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """Where the newest checkpoint is damaged, training goes on from the one before."""
    fit(tmp_path, 2)
    (tmp_path / "checkpoints" / "ckpt-10.index").write_bytes(b"")
    assert fit(tmp_path, 3).step == 15


def test_a_model_must_be_a_keras_model(tmp_path: Path) -> None:
    """Something else than a Keras model is refused by name."""
    with pytest.raises(InputError, match=r"returns a keras\.Model, got 3"):
        fit(tmp_path, 1, model=lambda: 3)


def test_subclassed_and_unbuilt_models_train(tmp_path: Path) -> None:
    """A model that is built by its first call trains as well."""
    result = fit(tmp_path, 1, model=lambda: keras.Sequential([keras.layers.Dense(1)]))
    assert result.step == 5


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_saved_files_appear_whole(tmp_path: Path) -> None:
    """The three forms of a saved model hold its weights, replace older ones, and leave no rest."""
    model = build()
    for _ in range(2):
        paths = training.save(model, tmp_path / "out", "mine")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine", "mine.h5", "mine.keras"]
    expected = model(X).numpy()
    for path in paths[:2]:
        np.testing.assert_allclose(keras.models.load_model(path)(X), expected, rtol=1e-6)
    served = tf.saved_model.load(str(paths[2]))
    np.testing.assert_allclose(served.serve(X), expected, rtol=1e-6, atol=1e-7)
