"""Makes MNIST-sized data from the shipped sample, for measuring where MNIST cannot be had.

    python bench/training/digits.py DIR

Each image is a real digit turned, scaled, moved and covered with noise; test images come from the
sample's test images alone. It is easier than MNIST: compare accuracies with each other only.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[2] / "trainers" / "data" / "mnist.npz"
TRAIN, TEST = 60_000, 10_000
Images = NDArray[np.uint8]
Floats = NDArray[np.float64]


def write(directory: Path) -> None:
    """Write mnist.npz into a directory, always the same."""
    random = np.random.default_rng(2026)
    with np.load(SAMPLE) as sample:
        arrays: dict[str, Any] = {}
        for part, count in (("train", TRAIN), ("test", TEST)):
            chosen = random.integers(0, len(sample[f"x_{part}"]), count)
            arrays[f"x_{part}"] = jittered(sample[f"x_{part}"][chosen], random)
            arrays[f"y_{part}"] = sample[f"y_{part}"][chosen]
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / "mnist.npz", **arrays)


def jittered(images: Images, random: np.random.Generator) -> Images:
    """Return each image turned by ±15°, scaled by ±15 %, moved by ±2.5 pixels, with noise."""
    parts = np.array_split(images, max(1, len(images) // 5000))
    return np.concatenate([_jittered(part, random) for part in parts])


def _jittered(images: Images, random: np.random.Generator) -> Images:
    count = len(images)
    angle = np.deg2rad(random.uniform(-15, 15, (count, 1, 1)))
    scale = random.uniform(0.85, 1.15, (count, 1, 1))
    shift = random.uniform(-2.5, 2.5, (2, count, 1, 1))
    down, right = np.mgrid[-13.5:14.5, -13.5:14.5]
    row = (np.cos(angle) * down - np.sin(angle) * right) / scale + 13.5 + shift[0]
    column = (np.sin(angle) * down + np.cos(angle) * right) / scale + 13.5 + shift[1]
    moved = _sampled(np.pad(images, ((0, 0), (1, 1), (1, 1))), row + 1, column + 1)
    noisy = moved + random.normal(0, 20, moved.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _sampled(images: Images, row: Floats, column: Floats) -> Floats:
    """Return the images at fractional places, interpolated; nothing lies outside of them."""
    row, column = np.clip(row, 0, 28), np.clip(column, 0, 28)
    top, left = row.astype(int), column.astype(int)
    below, beside = row - top, column - left
    each = np.arange(len(images))[:, None, None]
    upper = images[each, top, left] * (1 - beside) + images[each, top, left + 1] * beside
    lower = images[each, top + 1, left] * (1 - beside) + images[each, top + 1, left + 1] * beside
    between: Floats = upper * (1 - below) + lower * below
    return between


if __name__ == "__main__":
    write(Path(sys.argv[1]))
