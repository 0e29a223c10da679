"""What the last lines of a task's log mean, where the cause is known and has a remedy."""

from collections.abc import Iterable
from typing import NamedTuple


class _Known(NamedTuple):
    """A failure known by a text in the log; every one of `signs` must be there."""

    signs: tuple[str, ...]
    remedy: str


_KNOWN = (
    _Known(
        ("PerReplica",),
        "Keras 3's own fit, optimizers and metrics do not work under tf.distribute strategies "
        "(keras#20585). Train with launcher.training (docs/training.md), or with Keras 2: "
        "pip install tf-keras, and `env: {TF_USE_LEGACY_KERAS: 1}` in cluster.yaml",
    ),
)


def remedy(lines: Iterable[str]) -> str:
    """Return what to do about a failure that left these lines, or nothing where it is unknown."""
    text = "\n".join(lines)
    found = (known.remedy for known in _KNOWN if all(sign in text for sign in known.signs))
    return next(found, "")
