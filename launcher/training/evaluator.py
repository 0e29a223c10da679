"""The evaluator: evaluates each new checkpoint beside the run, and ends with the run.

It is part of no strategy and sees no other task, only the checkpoint directory.
"""

import time

import tensorflow as tf

from launcher.training.checkpoint import Checkpoints
from launcher.training.evaluation import Evaluation
from launcher.training.interruption import Interruption
from launcher.training.progress import Summaries, figures, mark, say

_LOOK_S = 0.5
_WORD_S = 60.0
_NOTHING = (
    "nothing was evaluated: no checkpoint came to {}. The chief and the evaluator need one folder "
    "that both see (`checkpoints` in cluster.yaml)"
)


def follow(
    checkpoints: Checkpoints,
    evaluation: Evaluation,
    total_steps: int,
    summaries: Summaries,
    interruption: Interruption,
) -> tuple[int, dict[str, float]]:
    """Evaluate each new checkpoint until one is the last, or until asked to stop.

    Each says itself at which step training ends, unless it is an old one; the one that is there at
    first may be of an earlier run that ended sooner, and counts by `total_steps`. A wish to stop is
    answered after the last checkpoint was evaluated. Returns the last step that was evaluated and
    its figures, empty when there was no checkpoint.
    """
    mark("ready", role="evaluate")
    say(f"evaluating each new checkpoint in {checkpoints.directory}")
    first = checkpoints.latest()
    done: str | None = None
    step, values = -1, dict[str, float]()
    word_at = time.monotonic() + _WORD_S
    while step < total_steps:
        stopping = interruption.is_asked
        path = checkpoints.latest()
        if path and path != done and _load(checkpoints, path):
            done, step = path, int(checkpoints.step)
            if path != first:
                total_steps = int(checkpoints.total_steps) or total_steps
            values = _evaluate(evaluation, step, total_steps, summaries)
            word_at = time.monotonic() + _WORD_S
        elif stopping:
            break
        else:
            time.sleep(_LOOK_S)
        if time.monotonic() >= word_at:
            say(f"no new checkpoint in {checkpoints.directory} for {_WORD_S:g} s")
            word_at += _WORD_S
    if done is None:
        say(_NOTHING.format(checkpoints.directory))
    return step, values


def _load(checkpoints: Checkpoints, path: str) -> bool:
    """Load a checkpoint, unless the chief has removed it or not all of it is here yet."""
    try:
        checkpoints.load(path)
    except tf.errors.OpError:
        return False
    return True


def _evaluate(
    evaluation: Evaluation, step: int, total_steps: int, summaries: Summaries
) -> dict[str, float]:
    values = evaluation.run()
    say(f"evaluated step {step}/{total_steps}: {figures(values)}")
    mark("metrics", step=step, split="eval", final=step >= total_steps, **values)
    summaries.write(step, values)
    return values
