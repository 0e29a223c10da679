"""A run's checkpoints on their way from home into another host's volume: what that lacks.

A reader there must never see half of one. TensorFlow looks at what the note names, so that comes
last. An archive is written where it shall lie, byte by byte: what is read under its own name is
written beside it first, and then linked to its place.
"""

import os
import tarfile
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path
from typing import NamedTuple

from launcher.checkpoint_state import (
    INDEX_HEAD_BYTES,
    STATE_FILE,
    CheckpointState,
    data_of,
    index_of,
    parse,
)
from launcher.errors import HostError
from launcher.files.archive import CHUNK_BYTES, Owner, put_chunks
from launcher.files.checkpoint_volume import CheckpointVolume
from launcher.files.checkpoints import entries, files_here, is_same, state_of, state_there
from launcher.files.owner import read_file
from launcher.files.results import local
from launcher.files.stat import Stat, stat
from launcher.layout import CONTAINER_CHECKPOINT_DIR as INSIDE

_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
_MARK = ".launch"  # ends the names of what is written beside its place
_SHARD = "?????-of-?????"

Given = dict[str, tuple[str, ...]]  #: what was put into a volume: a checkpoint's name → its files


class _Item(NamedTuple):
    """One thing for an archive.

    source: a file here; None for a folder, or for an empty file.
    """

    path: str
    source: Path | None = None
    is_folder: bool = False
    is_linked: bool = False


def give(
    volume: CheckpointVolume, home: Path, given: Given, is_cancelled: Callable[[], bool]
) -> bool:
    """Have a volume hold the checkpoints that are home; whether it lacked anything.

    given: what it was given before, which is brought up to date. What of that is home no more is
        emptied there, as an engine cannot remove it.

    Raises:
        HostError: the host cannot be reached or has no room, what is home went meanwhile, or it
            was cancelled.
    """
    state = state_of(home)
    gone = tuple(sorted(set(given) - set(state.names))) if state else ()
    lacks = _of_state(volume, home, state, given) if state else _of_folder(volume, home)
    items = (*lacks, *(_Item(file) for name in gone for file in given[name]))
    if items:
        chunks = _until(is_cancelled, volume.host, _chunks(volume.owner, items))
        put_chunks(volume.engine, volume.container_id, chunks)
    for name in gone:
        del given[name]
    return bool(items)


def given_before(volume: CheckpointVolume) -> Given:
    """Return what a launcher before gave a volume, and has not emptied. Raises HostError."""
    note = read_file(volume.engine, volume.container_id, f"{INSIDE}/{_beside(STATE_FILE)}")
    state = parse(note.decode("utf-8", "replace"), INSIDE)
    given: Given = {}
    for name in state.names if state else ():
        index = read_file(volume.engine, volume.container_id, f"{INSIDE}/{index_of(name)}")
        if index:
            given[name] = (*data_of(name, index[:INDEX_HEAD_BYTES]), index_of(name))
    return given


def remove_marks(home: Path) -> int:
    """Remove from a folder here what only giving put into the volume that it came from.

    That is what was emptied, and what is written beside its place. Returns how many files went.

    Raises:
        HostError: a file cannot be removed.
    """
    with local(home):
        empty = {path for path in home.glob("*.index") if _is_empty(path)}
        data = {d for index in empty for d in home.glob(f"{escape(index.stem)}.data-{_SHARD}")}
        marks = {path for path in home.rglob(f".*{_MARK}") if path.is_file()}
        todo = empty | {path for path in data if _is_empty(path)} | marks
        for path in todo:
            path.unlink()
    return len(todo)


def is_newer(volume: CheckpointVolume, home: Path) -> bool:
    """Whether home has a later checkpoint than a volume, by their names. Raises HostError."""
    here = state_of(home)
    if here is None:
        return False
    there = state_there(volume)
    return there is None or here.number > there.number


def _of_state(
    volume: CheckpointVolume, home: Path, state: CheckpointState, given: Given
) -> Iterator[_Item]:
    lacks = not is_same(home / STATE_FILE, _there(volume, STATE_FILE))
    for name in state.names:
        if is_same(home / index_of(name), _there(volume, index_of(name))):
            continue
        lacks = True
        try:
            given[name] = files_here(home, name)
        except OSError as error:
            raise _is_gone(error) from None
        for file in given[name]:
            yield _Item(file, home / file)
    if lacks:
        yield _Item(STATE_FILE, home / STATE_FILE, is_linked=True)


def _of_folder(volume: CheckpointVolume, home: Path) -> Iterator[_Item]:
    for path, inside in entries(home):
        if path.name.endswith(_MARK):
            continue
        there = _there(volume, name := os.path.relpath(inside, INSIDE))
        if path.is_dir():
            if there is None:
                yield _Item(name, is_folder=True)
        elif not is_same(path, there):
            yield _Item(name, path, is_linked=True)


def _there(volume: CheckpointVolume, name: str) -> Stat | None:
    return stat(volume.engine, volume.container_id, f"{INSIDE}/{name}")


def _until(is_cancelled: Callable[[], bool], host: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if is_cancelled():
            raise HostError(f"{host}: stopped before the checkpoints were there")
        yield chunk


def _chunks(owner: Owner, items: tuple[_Item, ...]) -> Iterator[bytes]:
    """Yield a tar of these things, as the files here are read."""
    for item in items:
        if item.source is None:
            kind = tarfile.DIRTYPE if item.is_folder else tarfile.REGTYPE
            yield _header(owner, item.path, kind)
            continue
        try:
            yield from _file(owner, item, item.source)
        except OSError as error:
            raise _is_gone(error) from None
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(owner: Owner, item: _Item, source: Path) -> Iterator[bytes]:
    path = _beside(item.path) if item.is_linked else item.path
    with source.open("rb", buffering=0) as file:
        seen = os.fstat(file.fileno())
        left, mtime_s = seen.st_size, int(seen.st_mtime)
        yield _header(owner, path, tarfile.REGTYPE, left, mtime_s)
        while left and (data := file.read(min(left, CHUNK_BYTES))):
            left -= len(data)
            yield data
        if left:
            raise HostError(f"{source}: changed while it was being sent")
        yield bytes(-seen.st_size % tarfile.BLOCKSIZE)
    if item.is_linked:
        yield _header(owner, item.path, tarfile.LNKTYPE, 0, mtime_s, link=path)


def _header(
    owner: Owner, path: str, kind: bytes, size_bytes: int = 0, mtime_s: int = 0, link: str = ""
) -> bytes:
    info = tarfile.TarInfo(f"{INSIDE}/{path}".lstrip("/"))
    info.type, info.size, info.mtime = kind, size_bytes, mtime_s
    info.mode = _FOLDER_MODE if kind == tarfile.DIRTYPE else _FILE_MODE
    info.uid, info.gid = owner
    if link:
        info.linkname = f"{INSIDE}/{link}".lstrip("/")
    return info.tobuf(tarfile.PAX_FORMAT)


def _beside(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return os.path.join(folder, f".{name}{_MARK}")


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.stat().st_size


def _is_gone(error: OSError) -> HostError:
    return HostError(f"{error.filename}: cannot be read: {error.strerror}")
