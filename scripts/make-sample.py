#!/usr/bin/env python3
"""Builds trainers/data/mnist.npz, the digits that the repository ships, from scikit-learn's.

scikit-learn's `load_digits` holds 1,797 real handwritten digits of 8x8 pixels in 0..16. Each is
enlarged to 20x20, placed in 28x28 with its centre of mass in the middle, as MNIST's own digits are
(http://yann.lecun.com/exdb/mnist/), and written in the form of Keras' `mnist.npz`: 1,500 digits to
train on and 297 to test on, in the same proportion for every class.

    pip install scikit-learn && python scripts/make-sample.py

All arithmetic is in integers and the archive carries no dates: running this again with the same
zlib gives the same bytes. The sha256 it prints belongs into trainers/data/README.md.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

_Array = npt.NDArray[Any]

SAMPLE = Path(__file__).resolve().parent.parent / "trainers" / "data" / "mnist.npz"
TEST_DIGITS = 297
INK = 16  # the darkest value of an 8x8 digit
BOX, FIELD = 20, 28  # MNIST's digits fill 20x20 pixels of 28x28


def cubic_weights(size: int, enlarged: int) -> _Array:
    """Returns (enlarged, size) integer weights of Catmull-Rom interpolation, and ink 0 outside.

    Every row is scaled by 2 * (2 * enlarged)**3; rows near the border sum to less, as the
    neighbours outside are blank paper.
    """
    unit = 2 * enlarged
    weights = np.zeros((enlarged, size), np.int64)
    for row in range(enlarged):
        centre = (2 * row + 1) * size - enlarged  # of this pixel among the small ones, in units
        for column in range(size):
            d = abs(centre - column * unit)
            if d <= unit:
                weights[row, column] = 3 * d**3 - 5 * d**2 * unit + 2 * unit**3
            elif d < 2 * unit:
                weights[row, column] = -(d**3) + 5 * d**2 * unit - 8 * d * unit**2 + 4 * unit**3
    return weights


def enlarge(digit: _Array) -> _Array:
    """Returns the (8, 8) digit in 0..16 as (20, 20) uint8 in 0..255."""
    weights = cubic_weights(len(digit), BOX)
    scale = INK * (2 * (2 * BOX) ** 3) ** 2
    ink = weights @ digit @ weights.T
    enlarged: _Array = np.clip((255 * ink + scale // 2) // scale, 0, 255).astype(np.uint8)
    return enlarged


def centre(digit: _Array) -> _Array:
    """Returns the (20, 20) digit in a (28, 28) field, its centre of mass nearest to the middle."""
    field = np.zeros((FIELD, FIELD), np.uint8)
    mass = int(digit.sum(dtype=np.int64))
    corner = []
    for axis in (0, 1):
        moment = int((digit.sum(axis=1 - axis, dtype=np.int64) * np.arange(BOX)).sum())
        shift = ((FIELD - 1) * mass - 2 * moment + mass) // (2 * mass)  # rounded to a whole pixel
        corner.append(min(max(shift, 0), FIELD - BOX))
    top, left = corner
    field[top : top + BOX, left : left + BOX] = digit
    return field


def chosen_for_testing(labels: _Array) -> _Array:
    """Returns which digits (n,) bool are for testing: each class's share of 297, evenly spaced."""
    chosen = np.zeros(len(labels), bool)
    for label in range(10):
        positions = np.flatnonzero(labels == label)
        share = round(len(positions) * TEST_DIGITS / len(labels))
        spread = (2 * np.arange(share) + 1) * len(positions) // (2 * share)
        chosen[positions[spread]] = True
    return chosen


def npz_bytes(arrays: dict[str, _Array]) -> bytes:
    """Returns the arrays as a compressed npz whose bytes depend on nothing but the arrays."""
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = 0o644 << 16
            npy = io.BytesIO()
            np.lib.format.write_array(npy, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, npy.getvalue())
    return archive_bytes.getvalue()


def main() -> None:
    digits = load_digits()
    images = np.stack([centre(enlarge(digit)) for digit in digits.images.astype(np.int64)])
    labels = digits.target.astype(np.uint8)
    test = chosen_for_testing(labels)
    content = npz_bytes(
        {
            "x_train": images[~test],
            "y_train": labels[~test],
            "x_test": images[test],
            "y_test": labels[test],
        }
    )
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    print(f"{target}: {(~test).sum()} + {test.sum()} digits, {len(content):,} bytes")
    print(f"sha256 {sha256}")


if __name__ == "__main__":
    main()
