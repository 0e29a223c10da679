"""Which examples form which update, and what sources refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import InputError
from launcher.training import Arrays, Pipeline
from launcher.training.data import Order

sizes = st.integers(1, 50)


@given(sizes, sizes, st.integers(0, 5), st.integers(0, 2**31 - 1))
def test_an_epoch_uses_every_example(examples: int, batch: int, epoch: int, seed: int) -> None:
    """Every example is used in every epoch, by whole batches, and none twice more than another."""
    order = Order(examples, batch, seed)
    rows = order.rows(epoch * order.steps_per_epoch, order.steps_per_epoch)
    assert rows.shape == (order.steps_per_epoch, batch)
    counts = np.bincount(rows.ravel(), minlength=examples)
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


@given(sizes, sizes, st.integers(0, 200), st.integers(1, 200))
def test_a_restart_goes_on_with_the_next_examples(
    examples: int, batch: int, step: int, count: int
) -> None:
    """Rows asked for in parts, by an order made anew, are the rows asked for at once."""
    whole = Order(examples, batch, 3).rows(0, step + count)
    np.testing.assert_array_equal(Order(examples, batch, 3).rows(step, count), whole[step:])


def test_epochs_and_seeds_differ() -> None:
    """Each epoch and each seed has an order of its own."""
    orders = {tuple(Order(100, 100, seed).rows(epoch, 1)[0]) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_arrays_prepare_a_batch() -> None:
    """A batch is the asked rows of every array of a nest, prepared."""
    source = Arrays(
        {"image": np.arange(6, dtype=np.uint8)},
        np.arange(6),
        lambda x, y: ({"image": x["image"] / 2}, y),
    )
    (inputs, labels) = source.batch(source.arrays, np.array([4, 1]))
    assert inputs["image"].numpy().tolist() == [2.0, 0.5]
    assert labels.numpy().tolist() == [4, 1]


@pytest.mark.parametrize(("inputs", "labels"), [(3, 2), (0, 0)])
def test_arrays_must_match(inputs: int, labels: int) -> None:
    """Arrays of different lengths, or of none, are refused."""
    with pytest.raises(InputError, match="as many labels as inputs"):
        Arrays(np.zeros(inputs), np.zeros(labels))


def test_pipelines_know_their_examples() -> None:
    """A pipeline of no examples is refused."""
    with pytest.raises(InputError, match="examples ≥ 1"):
        Pipeline(lambda shard: None, 0)
