"""What mnist_data promises about reading MNIST's files and feeding their arrays."""

import gzip
import hashlib
import io
import os
import re
import shlex
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mnist_data
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mnist_data import DataError, Mnist

SAMPLE_DIR = Path(mnist_data.__file__).parent / "data"
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
KEYS = ("x_train", "y_train", "x_test", "y_test")
packed = partial(gzip.compress, mtime=0)  # the same in every process that collects the tests


def digits(train: int = 5, test: int = 3) -> Mnist:
    """Returns small arrays that differ everywhere."""
    random = np.random.default_rng(7)

    def part(count: int) -> tuple[Any, Any]:
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        return images, random.integers(0, 10, count, np.uint8)

    return Mnist(*part(train), *part(test))


def idx_bytes(array: Any) -> bytes:
    """Returns the array in LeCun's idx format."""
    header = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
    return header + bytes(array.tobytes())


def write_idx(
    directory: Path, data: Mnist, *, dotted: bool = False, pack: Callable[[bytes], bytes] = bytes
) -> None:
    for field, name in NAMES.items():
        name = name.replace("-idx", ".idx") if dotted else name
        suffix = "" if pack is bytes else ".gz"
        (directory / (name + suffix)).write_bytes(pack(idx_bytes(getattr(data, field))))


def write_npz(directory: Path, **changed: Any) -> Path:
    path = directory / "mnist.npz"
    np.savez_compressed(path, **(dict(zip(KEYS, digits(), strict=True)) | changed))
    return path


def equal(one: Mnist, other: Mnist) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def problems(directory: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as raised:
        mnist_data.load(directory)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return raised.value.problems


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Takes root's power to read everything away, where the tests run as root."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65534)
    yield
    os.seteuid(uid)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples of a property, which each write their own files."""
    return tmp_path_factory.mktemp("corrupted")


class TestSample:
    def test_is_the_file_its_readme_credits(self) -> None:
        """The shipped file is, bit for bit, the one whose sha256, source and licence are stated."""
        readme = (SAMPLE_DIR / "README.md").read_text()
        stated = re.findall(r"\b[0-9a-f]{64}\b", readme)
        content = (SAMPLE_DIR / "mnist.npz").read_bytes()
        assert stated == [hashlib.sha256(content).hexdigest()]
        assert "CC BY 4.0" in readme
        assert "BSD-3-Clause" in readme
        assert len(content) < 1_000_000

    def test_loads_with_every_class_in_both_parts(self) -> None:
        """The sample is 1,500 + 297 digits in MNIST's form, each class in its proportion."""
        data = mnist_data.load(SAMPLE_DIR)
        assert data.train_images.shape == (1500, 28, 28)
        assert data.test_images.shape == (297, 28, 28)
        assert all(array.dtype == np.uint8 for array in data)
        assert np.bincount(data.train_labels).min() >= 145
        assert np.bincount(data.test_labels).min() >= 29


class TestForms:
    @pytest.mark.parametrize("dotted", [False, True])
    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_idx(self, tmp_path: Path, dotted: bool, pack: Callable[[bytes], bytes]) -> None:
        """The four idx files give their arrays, gzipped or not, under either spelling."""
        write_idx(tmp_path, digits(), dotted=dotted, pack=pack)
        assert equal(mnist_data.load(tmp_path), digits())

    def test_unpacked_under_a_gz_name(self, tmp_path: Path) -> None:
        """A file that a browser has unpacked but left its .gz is read for what it is."""
        write_idx(tmp_path, digits(), pack=lambda content: content)
        assert equal(mnist_data.load(str(tmp_path)), digits())

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_npz(self, tmp_path: Path, save: Callable[..., None]) -> None:
        """Keras' mnist.npz gives its arrays, compressed or not, and goes before idx files."""
        write_idx(tmp_path, digits(2, 2))
        save(tmp_path / "mnist.npz", **dict(zip(KEYS, digits(), strict=True)))
        assert equal(mnist_data.load(tmp_path), digits())

    def test_fortran_order(self, tmp_path: Path) -> None:
        """An array that was saved column by column is the same array."""
        write_npz(tmp_path, x_train=np.asfortranarray(digits().train_images))
        assert equal(mnist_data.load(tmp_path), digits())

    def test_arrays_can_be_changed(self, tmp_path: Path) -> None:
        """The arrays belong to whoever loaded them: they may be shuffled in place."""
        write_idx(tmp_path, digits())
        assert all(array.flags.writeable for array in mnist_data.load(tmp_path))
        assert all(array.flags.writeable for array in mnist_data.load(SAMPLE_DIR))


class TestProblems:
    def test_nothing_there(self, tmp_path: Path) -> None:
        """An empty directory is told what was looked for, and how to get it."""
        (problem,) = problems(tmp_path)
        assert "mnist.npz" in problem
        assert all(name in problem for name in NAMES.values())
        assert f"mnist_data.py download --data_config data.yaml --data_dir {tmp_path}" in problem

    def test_no_directory(self, tmp_path: Path) -> None:
        """A path that is not there, and one that is a file, are named for what they are."""
        (tmp_path / "file").touch()
        assert f"{tmp_path / 'none'}: no such directory" in problems(tmp_path / "none")[0]
        assert f"{tmp_path / 'file'}: is not a directory" in problems(tmp_path / "file")[0]

    def test_permission_denied(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        """What may not be read is named, with the system's reason."""
        inner = tmp_path / "inner"
        inner.mkdir()
        inner.chmod(0)
        request.getfixturevalue("unprivileged")
        assert problems(inner)[0].endswith("Permission denied")

    def test_every_problem_at_once(self, tmp_path: Path) -> None:
        """Each wrong file has its own line: magic, missing, label, and count."""
        write_idx(tmp_path, digits())
        (tmp_path / NAMES["train_images"]).write_bytes(idx_bytes(digits().train_labels))
        (tmp_path / NAMES["train_labels"]).unlink()
        (tmp_path / NAMES["test_labels"]).write_bytes(idx_bytes(np.array([1, 10], np.uint8)))
        assert [problem.removeprefix(f"{tmp_path}/") for problem in problems(tmp_path)] == [
            "train-images-idx3-ubyte: 13 bytes; expected a header of 16 bytes",
            "train-labels-idx1-ubyte: missing (nor is it there with .gz), unlike others of the"
            f" four idx files; {mnist_data._how_to_get(tmp_path)}",
            "t10k-labels-idx1-ubyte: label 10 at position 1; expected 0 to 9",
        ]

    def test_counts_that_disagree(self, tmp_path: Path) -> None:
        """As many labels as images are expected, and both files are named."""
        write_idx(tmp_path, digits()._replace(test_labels=np.array([1, 2], np.uint8)))
        labels, images = (tmp_path / NAMES[field] for field in ("test_labels", "test_images"))
        expected = f"{labels}: 2 labels; expected 3, one for each image of {images}"
        assert problems(tmp_path) == (expected,)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "0 bytes; expected a header of 16 bytes"),
            (idx_bytes(np.zeros((5, 28, 28), np.uint8))[:-1], "at most 3919 bytes of images"),
            (idx_bytes(np.zeros((5, 28, 28), np.uint8)) + b"x", "more bytes of images; its header"),
            (idx_bytes(np.zeros((0, 28, 28), np.uint8)), "shape (0, 28, 28); expected (n, 28, 28)"),
            (idx_bytes(np.zeros((5, 32, 32), np.uint8)), "shape (5, 32, 32); expected (n, 28, 28)"),
            (b"\0\0\x0d\3" + bytes(12), "magic number 0x00000d03; expected 0x00000803, images"),
            (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "at most 0 bytes of images; its header"),
            (packed(struct.pack(">4I", 0x803, 2**32 - 1, 28, 28)), "at most "),
            (packed(idx_bytes(np.zeros((5, 28, 28), np.uint8)) + b"x"), "more bytes"),
            (packed(idx_bytes(np.zeros((5, 28, 28), np.uint8))[:-1]), "only 3919 bytes"),
            (packed(idx_bytes(np.zeros((5, 28, 28), np.uint8)))[:-9], "Compressed file"),
            (packed(idx_bytes(np.zeros((5, 28, 28), np.uint8))) + b"x", "Not a gzipped"),
        ],
    )
    def test_damaged_idx(self, tmp_path: Path, content: bytes, problem: str) -> None:
        """A damaged idx file is named with what is wrong, before memory is taken for its claims."""
        write_idx(tmp_path, digits())
        path = tmp_path / NAMES["train_images"]
        path.write_bytes(content)
        (found,) = problems(tmp_path)
        assert found.startswith(f"{path}: {problem}")

    def test_gzip_bomb(self, tmp_path: Path) -> None:
        """Of a file that unpacks to far more than its header says, only that much is unpacked."""
        write_idx(tmp_path, digits())
        bomb = gzip.compress(idx_bytes(digits().train_images) + bytes(1 << 24))
        (tmp_path / NAMES["train_images"]).write_bytes(bomb)
        read_bytes = 0

        class Counting(gzip.GzipFile):
            def readinto(self, buffer: Any) -> int:
                nonlocal read_bytes
                read_bytes += len(buffer)
                return super().readinto(buffer)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gzip, "GzipFile", Counting)
            assert "more bytes of images" in problems(tmp_path)[0]
        assert read_bytes == 5 * 784 + 1

    @pytest.mark.parametrize(
        ("changed", "problem"),
        [
            ({"y_test": np.array([0, 1, 200], np.uint8)}, "y_test: label 200 at position 2"),
            ({"y_test": np.zeros(3)}, "y_test: dtype float64; expected uint8"),
            ({"x_test": np.zeros((3, 784), np.uint8)}, "x_test: shape (3, 784); expected (n, 28"),
            ({"x_test": np.zeros((2, 28, 28), np.uint8)}, "y_test: 3 labels; expected 2, one for"),
        ],
    )
    def test_wrong_npz(self, tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
        """A wrong array is named with the file, its key, what it is and what was expected."""
        path = write_npz(tmp_path, **changed)
        (found,) = problems(tmp_path)
        assert found.startswith(f"{path}: {problem}")

    def test_npz_without_keys(self, tmp_path: Path) -> None:
        """Missing keys are named, with those that are there."""
        np.savez(tmp_path / "mnist.npz", images=np.zeros(3), x_test=digits().test_images)
        found = problems(tmp_path)
        assert [re.findall(r"npz: (\w+): missing", problem) for problem in found] == [
            ["x_train"],
            ["y_train"],
            ["y_test"],
        ]
        assert "the archive holds images, x_test" in found[0]

    def test_damaged_zip(self, tmp_path: Path) -> None:
        """A zip that is empty, cut short, or longer than it says, is no mnist.npz."""
        path = write_npz(tmp_path)
        whole = path.read_bytes()
        for content in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0" * 7, b"PK\5\6"):
            path.write_bytes(content)
            (found,) = problems(tmp_path)
            assert found.startswith(f"{path}: ")
            assert "expected a zip archive holding x_train, y_train, x_test, y_test" in found

    def test_npz_header_that_lies(self, tmp_path: Path) -> None:
        """A header that claims terabytes is refused by the archive's own sizes."""
        path = write_npz(tmp_path)
        header = io.BytesIO()
        claim = {"descr": "|u1", "fortran_order": False, "shape": (10**10, 28, 28)}
        np.lib.format.write_array_header_1_0(header, claim)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in KEYS:
                archive.writestr(f"{key}.npy", header.getvalue() + bytes(784))
        assert "which takes 7840000000128 bytes" in problems(tmp_path)[0]

    @pytest.mark.parametrize("nested", ["(" * 4000, "-" * 9000, "[" * 90, "{'descr': ()}"])
    def test_npy_header_that_breaks_parsers(self, tmp_path: Path, nested: str) -> None:
        """A header made to exhaust Python's parser is a damaged header, nothing worse."""
        path = write_npz(tmp_path)
        header = nested.encode() + b"\n"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in KEYS:
                magic = b"\x93NUMPY\1\0" + struct.pack("<H", len(header))
                archive.writestr(f"{key}.npy", magic + header)
        assert len(problems(tmp_path)) == 4


class TestObjectArrays:
    def convert(self, problem: str) -> None:
        """Runs the command that the message ends with."""
        command = shlex.split(problem.split("convert it with: ")[1])
        subprocess.run([sys.executable, *command[1:]], check=True)

    def test_in_npz(self, tmp_path: Path) -> None:
        """An object array in an npz is refused unread, and the command given makes it loadable."""
        images = np.empty(5, object)
        images[:] = list(digits().train_images)
        write_npz(tmp_path, x_train=images)
        (problem,) = problems(tmp_path)
        assert "x_train: an object array: refused, as an object array executes code" in problem
        self.convert(problem)
        assert equal(mnist_data.load(tmp_path), digits())

    def test_in_npy(self, tmp_path: Path) -> None:
        """keras.datasets' two pairs in one .npy are refused unread; the command converts them."""
        pairs = np.empty((2, 2), object)
        for position, array in zip(np.ndindex(2, 2), digits(), strict=True):
            pairs[position] = array
        path = tmp_path / "mnist's.npy"
        np.save(path, pairs)
        (problem,) = problems(tmp_path)
        assert problem.startswith(f"{path}: a .npy file: refused")
        self.convert(problem)
        assert equal(mnist_data.load(tmp_path), digits())

    def test_in_four_npy(self, tmp_path: Path) -> None:
        """One .npy an array is refused too; the command converts the four."""
        for key, array in zip(KEYS, digits(), strict=True):
            np.save(tmp_path / f"{key}.npy", array.astype(object))
        (problem,) = problems(tmp_path)
        self.convert(problem)
        assert equal(mnist_data.load(tmp_path), digits())

    def test_never_executes(self, tmp_path: Path) -> None:
        """Loading a pickle that would create a file creates none."""
        trap = np.empty(5, object)
        trap[:] = [Trap(tmp_path / "trapped")] * 5
        write_npz(tmp_path, y_train=trap)
        problems(tmp_path)
        assert not (tmp_path / "trapped").exists()


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class TestCorruption:
    """Whatever happens to a file, its true arrays come out of it, or DataError does."""

    def check(self, directory: Path, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        try:
            data = mnist_data.load(directory)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert equal(data, digits(2, 1))

    @given(data=st.data())
    @settings(max_examples=120, deadline=None)
    def test_of_an_idx_header(self, directory: Path, data: st.DataObject) -> None:
        """Any header, of any length, before the true pixels."""
        write_idx(directory, digits(2, 1))
        field = data.draw(st.sampled_from(list(NAMES)))
        whole = idx_bytes(getattr(digits(2, 1), field))
        length = 16 if field.endswith("images") else 8
        sizes = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2, 3, 28, 0x801, 0x803])
        header = data.draw(
            st.binary(max_size=20)
            | st.lists(sizes, max_size=5).map(lambda ints: struct.pack(f">{len(ints)}I", *ints))
        )
        self.check(directory, directory / NAMES[field], header + whole[length:])

    @given(position=st.integers(0, 10**6), byte=st.integers(1, 255), cut=st.integers(0, 60))
    @settings(max_examples=120, deadline=None)
    def test_of_gzip(self, directory: Path, position: int, byte: int, cut: int) -> None:
        """Any byte changed, and any end cut off, of a gzipped file: its checksum tells."""
        write_idx(directory, digits(2, 1))
        content = bytearray(gzip.compress(idx_bytes(digits(2, 1).train_images), mtime=0))
        content[position % len(content)] ^= byte
        path = directory / NAMES["train_images"]
        self.check(directory, path, bytes(content[: len(content) - max(0, cut - 30)]))

    @given(position=st.integers(0, 10**6), byte=st.integers(1, 255), from_end=st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_of_npz(self, directory: Path, position: int, byte: int, from_end: bool) -> None:
        """Any byte changed in an npz, half of the times in its directory at the end."""
        path = directory / "npz" / "mnist.npz"
        path.parent.mkdir(exist_ok=True)
        arrays: dict[str, Any] = dict(zip(KEYS, digits(2, 1), strict=True))
        np.savez_compressed(path, **arrays)
        content = bytearray(path.read_bytes())
        content[-1 - position % 300 if from_end else position % len(content)] ^= byte
        self.check(path.parent, path, bytes(content))


class TestDataset:
    def test_scales_and_batches_in_order(self) -> None:
        """Batches are float32 in [0, 1] and integer labels, whole, in order, the last one short."""
        data = digits()
        batches = list(
            mnist_data.dataset(
                data.train_images, data.train_labels, batch_size=2
            ).as_numpy_iterator()
        )
        images = np.concatenate([images for images, _ in batches])
        assert [len(labels) for _, labels in batches] == [2, 2, 1]
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, data.train_images / 255, atol=1e-6)
        labels = np.concatenate([labels for _, labels in batches])
        assert np.issubdtype(labels.dtype, np.integer)
        np.testing.assert_array_equal(labels, data.train_labels)

    def test_drops_the_remainder(self) -> None:
        """With drop_remainder every batch has batch_size examples, and TensorFlow knows it."""
        data = digits()
        batches = mnist_data.dataset(
            data.train_images, data.train_labels, batch_size=2, drop_remainder=True
        )
        assert len(list(batches)) == 2
        assert tuple(batches.element_spec[0].shape) == (2, 28, 28)

    def test_shuffles_by_seed_and_epoch(self) -> None:
        """One seed gives one order, every epoch has its own and all examples; none is lost."""
        images = np.zeros((50, 28, 28), np.uint8)
        labels = np.arange(50, dtype=np.uint8)

        def two_epochs(seed: int) -> list[int]:
            batches = mnist_data.dataset(
                images, labels, batch_size=10, shuffle=True, seed=seed, repeat=True
            )
            return [int(label) for _, batch in batches.take(10) for label in batch]

        order = two_epochs(1)
        assert order == two_epochs(1) != two_epochs(2)
        assert order[:50] != order[50:]
        assert sorted(order[:50]) == sorted(order[50:]) == list(range(50))

    def test_import_needs_no_tensorflow(self) -> None:
        """Reading the files does not load TensorFlow."""
        code = "import sys, mnist_data; sys.exit('tensorflow' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], cwd=SAMPLE_DIR.parent, check=True)
