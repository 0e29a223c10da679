"""What a cell's tasks run: the stand-in, or the real thing; and how its logs tell of it."""

import re
from pathlib import Path
from typing import NamedTuple

_FAKE = Path(__file__).with_name("fake_trainer.py")


class Trainer(NamedTuple):
    """A trainer, and where in its training a fault is to come.

    words: the command line after `launch`, with {steps} for how long it trains.
    fault_step: the step at which it does; slow: how many times as long as the stand-in it takes.
    """

    name: str
    words: tuple[str, ...]
    steps: int
    fault_step: int
    checkpoint_steps: int
    slow: float = 1.0

    @property
    def command(self) -> tuple[str, ...]:
        """The command line."""
        return tuple(word.format(steps=self.steps) for word in self.words)

    def begins_at(self, log: str) -> int:
        """Return the step after which an attempt of the chief goes on, by its log."""
        found = re.search(r"(?:^\d+ from|^resuming from step) (\d+)", log, re.MULTILINE)
        return int(found[1]) if found else 0


FAKE = Trainer("fake", ("--uai-args", str(_FAKE), "--steps={steps}"), 60, 12, 5)
_MNIST = ("mnist_dist", "--epochs=20", "--max_step={steps}", "--checkpoint_steps=20")
TENSORFLOW = Trainer("TensorFlow", _MNIST, 360, 100, 20, slow=4.0)
