"""What settings refuse, and what follows from them."""

from pathlib import Path

import pytest

from launcher.errors import InputError
from launcher.training import Settings


def settings(**given: object) -> Settings:
    return Settings(output_dir=Path("out"), **given)  # type: ignore[arg-type]


def test_every_problem_is_told_at_once() -> None:
    """Numbers that make no sense are refused together, each by its name."""
    with pytest.raises(InputError) as caught:
        settings(epochs=0, batch_size=-1, max_step=0, seed=-1, checkpoint_s=0.0)
    named = [problem.where for problem in caught.value.problems]
    assert named == ["epochs", "batch_size", "max_step", "seed", "checkpoint_s"]


def test_total_steps() -> None:
    """The run's length is its epochs, or max_step where that is less."""
    assert settings(epochs=3).total_steps(10) == 30
    assert settings(epochs=3, max_step=7).total_steps(10) == 7
    assert settings(epochs=3, max_step=70).total_steps(10) == 30


def test_the_batch_is_shared_evenly_or_not_at_all() -> None:
    """The global batch keeps its size: one that cannot be shared is refused with two that can."""
    assert settings(batch_size=12).batch_per_replica(3) == 4
    with pytest.raises(InputError, match=r"multiple of the 5 replicas .*got 12 \(try 10 or 15\)"):
        settings(batch_size=12).batch_per_replica(5)
    with pytest.raises(InputError, match=r"\(try 5\)"):
        settings(batch_size=2).batch_per_replica(5)


def test_checkpoints_go_where_all_tasks_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's shared directory is used where there is one, the output directory else."""
    monkeypatch.delenv("LAUNCH_CHECKPOINT_DIR", raising=False)
    assert settings().checkpoints == Path("out/checkpoints")
    monkeypatch.setenv("LAUNCH_CHECKPOINT_DIR", "/shared")
    assert settings().checkpoints == Path("/shared")
    assert settings(checkpoint_dir=Path("mine")).checkpoints == Path("mine")
