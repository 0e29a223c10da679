"""MNIST: arrays from a directory, `tf.data` pipelines from the arrays, and the download.

    python trainers/mnist_data.py download --data_config data.yaml --data_dir DIR --log_dir DIR

fetches what data.yaml lists, for example Keras' public copy of MNIST:

    files:
      - uri: https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz
        sha256: 731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1
        name: mnist.npz   # optional: the last part of the uri otherwise

This module knows the two forms in which MNIST is handed around: Keras' `mnist.npz`, and the four
idx files of http://yann.lecun.com/exdb/mnist/, gzipped or not. It believes nothing that a file says
about itself before the file's size agrees, and it never unpickles. It knows nothing of models,
strategies or clusters, and imports TensorFlow only to build a pipeline.
"""

from __future__ import annotations

import gzip
import math
import os
import shlex
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tensorflow as tf

UInt8Array = npt.NDArray[np.uint8]

CLASSES = 10
IMAGE_SHAPE = (28, 28)
NPZ_KEYS = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}
IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
# 0x08 says unsigned bytes, the last byte how many dimensions follow.
IDX_MAGIC = {"images": 0x00000803, "labels": 0x00000801}
DEFLATE_RATIO = 1032  # the most that deflate can expand: https://zlib.net/zlib_tech.html

_TRUST = "allow_pickle=True"
# What zipfile, gzip and numpy raise for a damaged file.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class Mnist(NamedTuple):
    """MNIST's four arrays: images (n, 28, 28) uint8, 0 is paper; labels (n,) uint8 in 0..9."""

    train_images: UInt8Array
    train_labels: UInt8Array
    test_images: UInt8Array
    test_labels: UInt8Array


class DataError(Exception):
    """The data cannot be used: one line a problem, each with the file and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(data_dir: str | os.PathLike[str]) -> Mnist:
    """Returns the MNIST arrays of a directory: of its `mnist.npz`, else of its four idx files.

    Every array is complete, of the right type and shape, not empty, labels are in 0..9 and as many
    as images. Memory stays within what the files' sizes allow, whatever their headers claim.

    Raises:
        DataError: with every problem that was found, in any of the files.
    """
    directory = Path(data_dir)
    try:
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "no such directory"
            raise DataError(f"{directory}: {what}; {_how_to_get(directory)}")
        npz = directory / "mnist.npz"
        if npz.is_file():
            return _load_npz(npz)
        files = {field: _idx_file(directory, name) for field, name in IDX_NAMES.items()}
        if not any(files.values()):
            raise _no_data(directory)
    except OSError as error:
        raise DataError(f"{error.filename or directory}: {_reason(error)}") from error

    def read(field: str) -> UInt8Array:
        path = files[field]
        if path is None:
            raise DataError(
                f"{directory / IDX_NAMES[field]}: missing (nor is it there with .gz), unlike others"
                f" of the four idx files; {_how_to_get(directory)}"
            )
        return _read_idx(path, field)

    return _assemble({field: str(path) for field, path in files.items()}, read)


def dataset(
    images: UInt8Array,
    labels: UInt8Array,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int | None = None,
    repeat: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Returns batches of (images (b, 28, 28) float32 in [0, 1], labels (b,) int64).

    b is batch_size, and less only in the last batch unless `drop_remainder`. With `shuffle` every
    epoch has another order, which `seed` fixes; with `repeat` the epochs never end. The pipeline is
    not sharded: that is for whoever knows how many workers there are.
    """
    import tensorflow as tf

    def scale(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(image, tf.float32) / 255.0, tf.cast(label, tf.int64)

    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle:
        examples = examples.shuffle(len(images), seed=seed)
    if repeat:
        examples = examples.repeat()
    batches = examples.batch(batch_size, drop_remainder=drop_remainder)
    return batches.map(scale, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _assemble(files: dict[str, str], read: Callable[[str], UInt8Array]) -> Mnist:
    """Returns the arrays that `read` gives for each field; `files` names their files."""
    arrays: dict[str, UInt8Array] = {}
    problems: list[str] = []
    for field in Mnist._fields:
        try:
            arrays[field] = read(field)
        except DataError as error:
            problems += error.problems
    for part in ("train", "test"):
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is not None and labels is not None and len(images) != len(labels):
            problems.append(
                f"{files[f'{part}_labels']}: {len(labels)} labels; expected {len(images)}, one for"
                f" each image of {files[f'{part}_images']}"
            )
    if problems:
        raise DataError(*problems)
    return Mnist(**arrays)


def _load_npz(path: Path) -> Mnist:
    files = {field: f"{path}: {key}" for field, key in NPZ_KEYS.items()}
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            _check_archive(archive, stream)
            return _assemble(files, lambda field: _read_npz(archive, path, field))
    except _DAMAGED as error:
        expected = "a zip archive holding " + ", ".join(NPZ_KEYS.values())
        raise DataError(f"{path}: {_reason(error)}; expected {expected}") from error


def _check_archive(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Raises ValueError for what zipfile passes over: bytes after the end, impossible sizes."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 22 - 0xFFFF))  # the end record, and a comment of at most 64 KiB
    tail = stream.read()
    trailing = len(tail) - tail.rfind(b"PK\x05\x06") - 22 - len(archive.comment)
    if trailing:
        raise ValueError(f"{trailing} bytes after the end of the zip archive")
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is neither stored nor deflated")
        if member.compress_size > size or member.file_size > DEFLATE_RATIO * member.compress_size:
            says = f"{member.compress_size} bytes that unpack to {member.file_size}"
            raise ValueError(f"{member.filename} cannot have {says} in an archive of {size} bytes")


def _read_npz(archive: zipfile.ZipFile, path: Path, field: str) -> UInt8Array:
    file = f"{path}: {NPZ_KEYS[field]}"
    try:
        member = archive.getinfo(f"{NPZ_KEYS[field]}.npy")
    except KeyError:
        found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
        raise DataError(f"{file}: missing; the archive holds {found}") from None
    try:
        with archive.open(member) as stream:
            shape, dtype = _npy_header(stream)
            header_bytes = stream.tell()
        if dtype.hasobject:
            content = f"np.load({str(path)!r}, {_TRUST})"
            raise DataError(_refusal(f"{file}: an object array", content, path.parent))
        if dtype != np.uint8:
            raise DataError(f"{file}: dtype {dtype}; expected uint8")
        expected = header_bytes + _checked_size(file, field, shape)
        if member.file_size != expected:
            says = f"its header says shape {shape}, which takes {expected} bytes"
            raise DataError(f"{file}: {member.file_size} bytes; {says}")
        with archive.open(member) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except _DAMAGED as error:
        raise DataError(f"{file}: {_reason(error)}; expected a whole .npy array") from error
    return _with_valid_labels(array, field, file)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # 2.0 and 3.0 are for headers past 64 KiB, which uint8 never needs
        raise ValueError(f".npy version {version[0]}.{version[1]}, expected 1.0")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy lets IndexError, MemoryError and others of its parser pass
        raise ValueError(f"damaged .npy header ({type(error).__name__})") from error
    return shape, dtype


def _idx_file(directory: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    candidates = (directory / form for form in (name, f"{name}.gz", dotted, f"{dotted}.gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(path: Path, field: str) -> UInt8Array:
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            gzipped = file.read(2) == b"\x1f\x8b"  # the content decides: browsers unpack unasked
            file.seek(0)
            if not gzipped:
                return _parse_idx(file, field, path, file_bytes)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse_idx(unpacked, field, path, DEFLATE_RATIO * file_bytes)
    except _DAMAGED as error:
        raise DataError(f"{path}: {_reason(error)}; expected a whole idx file") from error


def _parse_idx(stream: BufferedIOBase, field: str, path: Path, most: int) -> UInt8Array:
    """Returns the array of an idx stream, which cannot hold more than `most` bytes."""
    kind = field.split("_")[1]
    dimensions = IDX_MAGIC[kind] & 0xFF
    header_bytes = 4 + 4 * dimensions
    header = stream.read(header_bytes)
    if len(header) < header_bytes:
        raise DataError(f"{path}: {len(header)} bytes; expected a header of {header_bytes} bytes")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != IDX_MAGIC[kind]:
        expected = f"{IDX_MAGIC[kind]:#010x}, {kind} as unsigned bytes"
        raise DataError(f"{path}: magic number {magic:#010x}; expected {expected}")
    size = _checked_size(str(path), field, tuple(shape))
    says = f"its header says {shape[0]} {kind}, which take {size} bytes"
    if size > most - header_bytes:
        raise DataError(f"{path}: at most {most - header_bytes} bytes of {kind}; {says}")
    content = bytearray(size + 1)
    length = stream.readinto(content)
    if length != size:
        found = "more" if length > size else f"only {length}"
        raise DataError(f"{path}: {found} bytes of {kind}; {says}")
    array = np.frombuffer(content, np.uint8, count=size).reshape(shape)
    return _with_valid_labels(array, field, str(path))


def _checked_size(file: str, field: str, shape: tuple[int, ...]) -> int:
    """Returns how many bytes an array of this shape takes, if it is a shape for this field."""
    item = IMAGE_SHAPE if field.endswith("images") else ()
    if len(shape) != 1 + len(item) or shape[1:] != item or shape[0] < 1:
        expected = "(n, 28, 28)" if item else "(n,)"
        raise DataError(f"{file}: shape {shape}; expected {expected} with n ≥ 1")
    return shape[0] * math.prod(item)


def _with_valid_labels(array: UInt8Array, field: str, file: str) -> UInt8Array:
    if field.endswith("labels") and array.max() >= CLASSES:
        first = int(np.argmax(array >= CLASSES))
        raise DataError(f"{file}: label {array[first]} at position {first}; expected 0 to 9")
    return array


def _no_data(directory: Path) -> DataError:
    """Returns what to say of a directory with neither form of MNIST; of its .npy files, if any."""
    keys = list(NPZ_KEYS.values())
    npy = sorted(directory.glob("*.npy"))
    if {path.stem for path in npy} >= set(keys):
        content = f"{{k: np.load({str(directory)!r} + '/' + k + '.npy', {_TRUST}) for k in {keys}}}"
        return DataError(_refusal(f"{directory}: .npy files", content, directory))
    if npy:  # then ((x_train, y_train), (x_test, y_test)), what keras.datasets returns
        content = f"dict(zip({keys}, (a for ab in np.load({str(npy[0])!r}, {_TRUST}) for a in ab)))"
        return DataError(_refusal(f"{npy[0]}: a .npy file", content, directory))
    names = ", ".join(IDX_NAMES.values())
    return DataError(
        f"{directory}: no MNIST data; looked for mnist.npz, and for {names} (also as"
        f" train-images.idx3-ubyte and so on, and with .gz); {_how_to_get(directory)}"
    )


def _refusal(what: str, content: str, directory: Path) -> str:
    """Returns why `what` is refused, and the command that makes mnist.npz of it after all.

    `content` is a Python expression for a dictionary of its arrays, by the keys of mnist.npz.
    """
    arrays = f"{{k: np.array(list(old[k]), np.uint8) for k in {list(NPZ_KEYS.values())}}}"
    save = f"np.savez_compressed({str(directory / 'mnist.npz')!r}, **{arrays})"
    command = shlex.join(["python", "-c", f"import numpy as np; old = {content}; {save}"])
    return (
        f"{what}: refused, as an object array executes code when it is loaded; expected uint8 in"
        f" mnist.npz. Only if you trust where it comes from, convert it with: {command}"
    )


def _how_to_get(directory: Path) -> str:
    command = ["python", __file__, "download", "--data_config", "data.yaml"]
    return f"get it with: {shlex.join([*command, '--data_dir', str(directory)])}"


def _reason(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return strerror or str(error) or type(error).__name__


if __name__ == "__main__":
    from _mnist_download import main

    main()
