"""The training loop of one task: from the last checkpoint to the last step, then the figures.

The same loop drives every strategy; what a strategy does differently is in its program. It
decides how many steps a call takes, when a checkpoint is due, and what a wish to stop leads to.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import tensorflow as tf

from launcher.errors import InputError
from launcher.training.checkpoint import Checkpoints
from launcher.training.data import Order
from launcher.training.interruption import STOPPED, Interruption
from launcher.training.learner import Learner
from launcher.training.local import Performed
from launcher.training.progress import Progress, mark, say
from launcher.training.settings import Settings

_MOST_STEPS = 2000
_SEEN_S = 2.0  # for the others to see it too: who leaves first takes the answer from them


class Program(Protocol):
    """Performs steps under one strategy, and moves values between it and plain variables."""

    learner: Learner
    order: Order
    is_chief: bool
    call_s: float  #: how long a call should take

    def run(self, step: int, count: int, stop: bool) -> Performed: ...
    def updates(self, step: int) -> int: ...
    def pull(self, plain: list[tf.Variable]) -> None: ...
    def push(
        self, plain: list[tf.Variable] | None, counters: tuple[int, ...]
    ) -> tuple[int, ...]: ...
    def agree(self, numbers: tuple[float, ...]) -> bool: ...


class Pace:
    """How many steps a call takes, so that it lasts a moment: equal on all workers."""

    def __init__(self, call_s: float) -> None:
        self._call_s = call_s
        self._steps = 10
        self._calls = 0

    def next(self, last: Performed | None) -> int:
        """Return the steps of the next call; the first calls include tracing and teach nothing."""
        self._calls += 1
        if last and last.seconds_per_step > 0 and self._calls > 3:
            wished = int(self._call_s / last.seconds_per_step)
            self._steps = max(1, min(wished, 4 * self._steps, _MOST_STEPS))
        return self._steps


@dataclass
class Loop:
    """Trains until the total number of steps is reached, however often it was interrupted.

    checkpoints: the chief's; None on tasks that write none.
    progress: the chief's reports; None elsewhere.
    """

    program: Program
    settings: Settings
    checkpoints: Checkpoints | None
    progress: Progress | None
    interruption: Interruption
    reached: int = field(default=0, init=False)  #: the step of the last update
    figures: Mapping[str, float] = field(default_factory=dict, init=False)  #: of the last epoch
    _saved_at: float = field(default=0.0, init=False)
    _saved_step: int = field(default=0, init=False)

    def run(self) -> int:
        """Train; return the number of updates that were made.

        Raises:
            InputError: when the tasks were asked for different things.
            SystemExit: with 42, once asked to stop and saved.
        """
        self._check_agreement()
        step = self._start()
        total = self.total_steps
        totals, last, pace = (
            self.program.learner.objective.empty().numpy(),
            None,
            Pace(self.program.call_s),
        )
        self._saved_at, self._saved_step = time.monotonic(), step
        while step < total:
            count = min(pace.next(last), self._boundary(step, total) - step)
            last = self.program.run(step, count, self.interruption.is_asked)
            step += last.steps
            totals = totals + last.totals
            if last.is_stopping:
                self._stop(step)
            if self.progress:
                self.progress.step(step, last.steps)
            if step == total or step % self.program.order.steps_per_epoch == 0:
                self._end_epoch(step, totals)
                totals = totals * 0
            elif self._is_due(step):
                self._save(step)
        self.reached = step
        return self.program.updates(step)

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.settings.total_steps(self.program.order.steps_per_epoch)

    def _check_agreement(self) -> None:
        learner, order = self.program.learner, self.program.order
        parameters = sum(v.shape.num_elements() for v in learner.variables.saved)
        numbers = (self.total_steps, order.batch_size, order.examples, order.seed, parameters)
        if not self.program.agree(tuple(map(float, numbers))):
            time.sleep(_SEEN_S)
            raise InputError(
                "the tasks of this cluster were started with different settings, data or models; "
                "give all of them the same arguments "
                f"(here: {numbers[0]} steps of {numbers[1]} of {numbers[2]} examples, "
                f"seed {numbers[3]}, {numbers[4]} numbers to train)"
            )

    def _start(self) -> int:
        """Load the last checkpoint on the chief, give it to all; return the step reached."""
        plain, counters = None, (0, 0)
        if self.checkpoints:
            if path := self.checkpoints.restore():
                counters = (int(self.checkpoints.step), int(self.checkpoints.updates))
                say(f"resuming from step {counters[0]} ({path})")
            plain = self.checkpoints.variables.saved
        step, _ = self.program.push(plain, counters)
        mark("ready", role="train")
        return step

    def _boundary(self, step: int, total: int) -> int:
        """Return the step at which the call in progress must end at the latest."""
        marks = [self.program.order.steps_per_epoch]
        if self.settings.checkpoint_steps:
            marks.append(self.settings.checkpoint_steps)
        return min(total, *((step // every + 1) * every for every in marks))

    def _is_due(self, step: int) -> bool:
        every = self.settings.checkpoint_steps
        late = time.monotonic() - self._saved_at >= self.settings.checkpoint_s
        return late or (every is not None and step % every == 0)

    def _end_epoch(self, step: int, totals: Any) -> None:
        if self.progress:
            self.figures = self.program.learner.objective.means(totals)
            self.progress.epoch(step, self.figures)
        self._save(step)

    def _save(self, step: int) -> None:
        if self.checkpoints and step != self._saved_step:
            self.program.pull(self.checkpoints.variables.saved)
            path = self.checkpoints.save(step, self.program.updates(step), self.total_steps)
            mark("checkpoint", step=step, path=path)
        self._saved_at, self._saved_step = time.monotonic(), step

    def _stop(self, step: int) -> None:
        self._save(step)
        say(f"stopped at step {step} as asked; the next start goes on from there")
        raise SystemExit(STOPPED)
