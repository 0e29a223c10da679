"""What known failures are told to mean."""

from launcher.diagnosis import remedy

KERAS_FIT = [
    "Traceback (most recent call last):",
    "ValueError: Attempt to convert a value (PerReplica:{ 0: <tf.Tensor: shape=()> }) with an "
    "unsupported type (<class 'tensorflow.python.distribute.values.PerReplica'>) to a Tensor.",
]


def test_keras_fit_under_a_strategy() -> None:
    """Keras 3's fit under a strategy is named, with both ways out."""
    text = remedy(KERAS_FIT)
    assert "keras#20585" in text
    assert "TF_USE_LEGACY_KERAS" in text
    assert "docs/training.md" in text


def test_an_unknown_failure() -> None:
    """A failure that is not known gets no advice."""
    assert remedy(["ValueError: something else", ""]) == ""
