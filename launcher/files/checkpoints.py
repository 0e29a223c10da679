"""A run's checkpoints on their way home: what is new in a host's volume, whole or not at all.

The folder here is its own memory: what lies in it with the size and time that the host tells is
home, whichever launcher brought it. Checkpoints as TensorFlow names them come one by one, each
once. What others write comes as the whole folder, if nothing in it changed while it was copied.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from launcher.checkpoint_state import (
    INDEX_HEAD_BYTES,
    MOST_STATE_BYTES,
    STATE_FILE,
    CheckpointState,
    data_of,
    index_of,
    parse,
)
from launcher.errors import HostError
from launcher.files.checkpoint_volume import CheckpointVolume
from launcher.files.owner import read_file
from launcher.files.results import collect, collect_file, local, swap
from launcher.files.stat import Stat, stat
from launcher.layout import CONTAINER_CHECKPOINT_DIR as INSIDE

_ROUNDS = 3  # a trainer may have gone on by another checkpoint meanwhile
_COMPARED = 500  # entries of a folder that is not TensorFlow's


class Fetched(NamedTuple):
    """What has come, beside the folder that it goes to.

    files: in the order in which they take their places; empty for a whole folder.
    state: what the note then says; None for a whole folder.
    """

    staging: Path
    files: tuple[str, ...] = ()
    state: CheckpointState | None = None


def fetched(
    volume: CheckpointVolume, home: Path, staging: Path, is_cancelled: Callable[[], bool]
) -> Fetched | None:
    """Return what is new in a volume, copied to the folder `staging`; None for nothing.

    Raises:
        HostError: it could not be read or did not arrive whole, or there is no room here.
    """
    state = state_there(volume)
    if state is not None:
        return _Fetching(volume, home, staging, is_cancelled).run(state)
    if stat(volume.engine, volume.container_id, INSIDE) is None:
        raise HostError(f"{volume.host}: the container to reach checkpoints through is gone")
    if state_of(home) is not None:  # a trainer that has not come to its first checkpoint again
        return None
    return _folder(volume, home, staging, is_cancelled)


def take(found: Fetched, home: Path) -> None:
    """Have what was fetched take its place: the note last, then what it names no more goes.

    Raises:
        HostError: it cannot be written here.
    """
    with local(home):
        if found.state is None:
            swap(found.staging, home)
            return
        note = found.staging / STATE_FILE
        note.write_text(found.state.text(), encoding="utf-8")
        before = state_of(home)
        if before is None:  # there was nothing, or what did not look like TensorFlow's yet
            swap(found.staging, home)
            return
        for name in found.files:
            (found.staging / name).replace(home / name)
        note.replace(home / STATE_FILE)
        for name in set(before.names) - set(found.state.names):
            with contextlib.suppress(FileNotFoundError):
                for file in files_here(home, name):
                    (home / file).unlink(missing_ok=True)
    shutil.rmtree(found.staging, ignore_errors=True)


def state_of(folder: Path) -> CheckpointState | None:
    """Return what the note of a folder here says; None where there is none."""
    try:
        text = (folder / STATE_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse(text, INSIDE)


def state_there(volume: CheckpointVolume) -> CheckpointState | None:
    """Return what the note in a volume says; None where there is none. Raises HostError."""
    path = f"{INSIDE}/{STATE_FILE}"
    there = stat(volume.engine, volume.container_id, path)
    if there is None or not there.is_file or there.size_bytes > MOST_STATE_BYTES:
        return None
    text = read_file(volume.engine, volume.container_id, path)
    return parse(text.decode("utf-8", "replace"), INSIDE)


def files_here(folder: Path, name: str) -> tuple[str, ...]:
    """Return the files of a checkpoint in a folder here, its index last.

    Raises OSError where it has none.
    """
    index = index_of(name)
    with (folder / index).open("rb") as file:
        return (*data_of(name, file.read(INDEX_HEAD_BYTES)), index)


def is_same(path: Path, there: Stat | None) -> bool:
    """Whether what lies here is what an engine tells of."""
    try:
        here = path.lstat()
    except OSError:
        return False
    if there is None or here.st_mtime // 1 != there.mtime_s:
        return False
    if there.is_folder:
        return path.is_dir() and not path.is_symlink()
    return here.st_size == there.size_bytes


class _Fetching:
    """One look at a volume with TensorFlow's note."""

    def __init__(
        self,
        volume: CheckpointVolume,
        home: Path,
        staging: Path,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._volume = volume
        self._home = home
        self._before = state_of(home)
        self._staging = staging
        self._is_cancelled = is_cancelled

    def run(self, state: CheckpointState) -> Fetched | None:
        """Copy what is new; the newest first, as the oldest may go meanwhile."""
        found: dict[str, tuple[str, ...]] = {}
        for _ in range(_ROUNDS):
            for name in reversed(state.names):
                if name not in found and (files := self._files(name)) is not None:
                    found[name] = files
            if state.latest in found:
                break
            state = state_there(self._volume) or state
        kept = state.only(found)
        if kept is None:
            return None
        files = tuple(file for name in kept.names for file in found[name])
        if not files and self._before is not None and self._before.text() == kept.text():
            return None
        with local(self._staging):
            self._staging.mkdir(parents=True, exist_ok=True)
        return Fetched(self._staging, files, kept)

    def _files(self, name: str) -> tuple[str, ...] | None:
        """Copy a checkpoint's files and return them; none where all are home, None: it is gone."""
        index = index_of(name)
        there = stat(self._volume.engine, self._volume.container_id, f"{INSIDE}/{index}")
        if there is None or not there.is_file:
            return None
        if self._before is not None and is_same(self._home / index, there):
            with contextlib.suppress(OSError):
                if all((self._home / file).is_file() for file in files_here(self._home, name)):
                    return ()
        if not self._copy(index):
            return None
        with local(self._staging):
            files = files_here(self._staging, name)
        return files if all(map(self._copy, files[:-1])) else None

    def _copy(self, file: str) -> bool:
        return collect_file(
            self._volume.engine,
            self._volume.container_id,
            f"{INSIDE}/{file}",
            self._staging / file,
            is_cancelled=self._is_cancelled,
        )


def _folder(
    volume: CheckpointVolume, home: Path, staging: Path, is_cancelled: Callable[[], bool]
) -> Fetched | None:
    """Copy a folder of which nothing is known but what lies in it."""
    if home.is_dir() and _is_unchanged(volume, home):
        return None
    for _ in range(_ROUNDS):
        collect(
            volume.engine, volume.container_id, INSIDE, staging,
            on_progress=lambda _: None, is_cancelled=is_cancelled,
        )  # fmt: skip
        if not home.is_dir() and not any(staging.iterdir()):
            return None
        if (state := state_of(staging)) is not None:  # the first note has come meanwhile
            shutil.rmtree(staging, ignore_errors=True)
            return _Fetching(volume, home, staging, is_cancelled).run(state)
        if _is_unchanged(volume, staging):
            return Fetched(staging)
    raise HostError(f"{volume.host}: checkpoints change while they are copied")


def _is_unchanged(volume: CheckpointVolume, folder: Path) -> bool:
    """Whether a volume holds what a copy of it does, as far as names, sizes and times tell."""
    return all(
        is_same(path, stat(volume.engine, volume.container_id, os.path.normpath(there)))
        for path, there in islice(entries(folder), _COMPARED)
    )


def entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield a folder and what is in it, each with its path there; links have none of their own."""
    for at, folders, files in os.walk(folder):
        inside = f"{INSIDE}/{os.path.relpath(at, folder)}"
        yield Path(at), inside
        for name in (*folders, *files):
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                yield path, f"{inside}/{name}"
