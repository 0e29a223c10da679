"""mnist_single as a user starts it: real processes on the shipped sample."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TRAINERS = Path(__file__).resolve().parents[2] / "trainers"
SCRIPT = TRAINERS / "mnist_single.py"

Done = subprocess.CompletedProcess[str]


def run(*arguments: str) -> Done:
    words = [sys.executable, str(SCRIPT), f"--data_dir={TRAINERS / 'data'}", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_trains_saves_serves_and_goes_on(tmp_path: Path) -> None:
    """Two starts give a good classifier in three forms, summaries, and one last line."""
    first = run(f"--output_dir={tmp_path}", "--epochs=1", f"--log_dir={tmp_path / 'log'}")
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    again = run(f"--output_dir={tmp_path}", "--epochs=4", f"--log_dir={tmp_path / 'log'}")
    assert "resuming from step 47 " in again.stdout
    last = re.fullmatch(r"loss=(\d+\.\d+) accuracy=(\d+\.\d+)", again.stdout.splitlines()[-1])
    assert last
    assert float(last[2]) > 0.94
    assert list((tmp_path / "log").rglob("events.out.tfevents.*"))
    _check_saved(tmp_path, float(last[2]))


def _check_saved(directory: Path, accuracy: float) -> None:
    """Every form of the model reaches the accuracy that was printed."""
    import keras
    import tensorflow as tf

    with np.load(TRAINERS / "data" / "mnist.npz") as data:
        images, labels = data["x_test"], data["y_test"]
    scaled = (images / 255.0).astype(np.float32)
    served = tf.saved_model.load(str(directory / "mnist"))
    answers = [
        keras.models.load_model(directory / "mnist.keras")(scaled),
        keras.models.load_model(directory / "mnist.h5")(scaled),
        served.serve(scaled),
        served.serve_uint8(images),
        served.signatures["serving_default"](tf.constant(scaled))["output_0"],
    ]
    for probabilities in answers:
        right = np.mean(np.argmax(probabilities, 1) == labels)
        assert float(right) == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.tensorflow
def test_train_config_and_flags(tmp_path: Path) -> None:
    """train.yaml is followed, and a flag that is given wins over it."""
    config = tmp_path / "train.yaml"
    config.write_text("optimizer: sgd\ntrain_epochs: 3\nbatch_size: 500\n")
    given = (f"--output_dir={tmp_path / 'out'}", f"--train_config={config}", "--epochs=2")
    done = run(*given, f"--model_dir={tmp_path / 'model'}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^epoch 2/2 step (\d)/\1 ", done.stdout, re.MULTILINE)
    assert (tmp_path / "model" / "mnist.keras").exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer=adan", "--batch_size=0"], "batch_size: expected an integer ≥ 1"),
        (["--optimizer=adan"], "optimizer: expected one of adam, sgd, rmsprop, adagrad"),
        (["--data_dir=/nowhere"], "/nowhere: no such directory"),
        (["--epochs=two"], "flag --epochs=two"),
        (["--epoch=2"], "Unknown command line flag 'epoch'"),
    ],
)
def test_bad_input_is_an_error_without_traceback(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    """What the user gave wrong is told on standard error, with exit code 2."""
    done = run(f"--output_dir={tmp_path}", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
