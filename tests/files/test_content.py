"""What a folder holds has one hash, and is read once."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import InputError
from launcher.files.content import Content, content_of

LONG_AGO = 1_600_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    (made / "train").mkdir(parents=True)
    (made / "train" / "1").write_bytes(b"one")
    (made / "train" / "2").write_bytes(b"two")
    (made / "first").symlink_to("train/1")
    return made


class Reading:
    """Reads contents, and counts the bytes read."""

    def __init__(self, cache: Path) -> None:
        self.cache = str(cache)
        self.read_bytes = 0

    def __call__(self, folder: Path) -> Content:
        self.read_bytes = 0
        return content_of(str(folder), self.cache, self._count)

    def _count(self, more_bytes: int) -> None:
        self.read_bytes += more_bytes


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    return Reading(tmp_path / "cache")


def test_entries_are_sorted_folders_first(folder: Path, read: Reading) -> None:
    """A folder stands before what is in it."""
    content = read(folder)
    assert [each.name for each in content.entries] == ["first", "train", "train/1", "train/2"]
    assert content.size_bytes == 6


CHANGES: dict[str, Callable[[Path], object]] = {
    "other content": lambda f: (f / "train" / "1").write_bytes(b"ONE"),
    "other name": lambda f: (f / "train" / "1").rename(f / "train" / "0"),
    "executable": lambda f: (f / "train" / "1").chmod(0o700),
    "another file": lambda f: (f / "train" / "3").touch(),
    "an empty folder": lambda f: (f / "test").mkdir(),
    "another link": lambda f: (f / "new").symlink_to("train/2"),
    "content moved between files": lambda f: (
        (f / "train" / "1").write_bytes(b"onet"), (f / "train" / "2").write_bytes(b"wo")
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_tasks_would_see_changes_the_hash(
    change: Callable[[Path], object], folder: Path, read: Reading
) -> None:
    """Names, contents, links, and what is executable."""
    before = read(folder).hash
    change(folder)
    assert read(folder).hash != before


def test_a_copy_has_the_same_hash(folder: Path, read: Reading, tmp_path: Path) -> None:
    """Neither the place nor times, owners or who may read it count."""
    before = read(folder).hash
    (folder / "train" / "1").chmod(0o600)
    os.utime(folder / "train" / "1", (1, 1))
    folder.rename(tmp_path / "moved")
    assert read(tmp_path / "moved").hash == before


def old(folder: Path) -> None:
    """Wait until no file of the folder is so young that it could change unseen."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)


def test_an_unchanged_folder_is_not_read_again(
    folder: Path, read: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read is only what is new or changed, even where its time was set back."""
    old(folder)
    monkeypatch.setattr("launcher.files.content._JUST_NOW_NS", 0)
    first = read(folder)
    assert read.read_bytes == 6
    assert read(folder) == first
    assert read.read_bytes == 0
    (folder / "train" / "2").write_bytes(b"TWO")
    old(folder)
    assert read(folder).hash != first.hash
    assert read.read_bytes >= 3


def test_a_file_that_was_just_written_is_read_again(folder: Path, read: Reading) -> None:
    """It could change within the resolution of its time."""
    read(folder)
    read(folder)
    assert read.read_bytes == 6


def test_a_broken_cache_only_costs_time(folder: Path, read: Reading) -> None:
    """Neither garbage nor a folder without permission is an error."""
    Path(read.cache).mkdir()
    Path(read.cache, "digests.sqlite").write_bytes(b"garbage " * 1000)
    expected = read(folder)
    Path(read.cache, "digests.sqlite").unlink()
    with sqlite3.connect(Path(read.cache, "digests.sqlite")) as database:
        database.execute("CREATE TABLE digests (other)")
    database.close()
    assert read(folder) == expected
    read.cache = "/proc/none"
    assert read(folder) == expected


def test_problems_are_named_all_at_once(folder: Path, read: Reading) -> None:
    """Links that would lead nowhere in a container, wherever they are."""
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "train" / "up").symlink_to("../../elsewhere")
    with pytest.raises(InputError) as caught:
        read(folder)
    assert {Path(each.where).name for each in caught.value.problems} == {"out", "up"}


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), ("empty", "is empty")])
def test_a_folder_without_data_is_refused(
    name: str, why: str, read: Reading, tmp_path: Path
) -> None:
    """Before anything is started."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=why):
        read(tmp_path / name)


def test_sockets_and_pipes_are_no_data(folder: Path, read: Reading) -> None:
    """They are left out, and not waited for."""
    before = read(folder)
    os.mkfifo(folder / "pipe")
    assert read(folder) == before


@given(st.sets(st.sampled_from(["a", "a.b", "a/b", "a0", "b/a", "b/c/d", "é", "a/b0"])))
def test_the_order_is_that_of_paths(names: set[str]) -> None:
    """However folders list their entries, parents stand before children."""
    with tempfile.TemporaryDirectory() as base:
        for name in {each for each in names if not any(o.startswith(f"{each}/") for o in names)}:
            path = Path(base, "data", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if names:
            content = content_of(f"{base}/data", f"{base}/cache", lambda _: None)
            parts = [each.name.split("/") for each in content.entries]
            assert parts == sorted(parts)
