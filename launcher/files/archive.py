"""Tar archives on their way into a container that has been created and not started.

Every archive here is rooted at `/`, names only what it brings (an image's own folders keep their
owner and mode), and carries no end mark, so that several are put by one call.
"""

import io
import mmap
import os
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from launcher.engine import Engine

CHUNK_BYTES = 1 << 18
_END = bytes(2 * tarfile.BLOCKSIZE)
_SENT_WHOLE_BYTES = 1 << 20  # what is smaller is sent at once


class Owner(NamedTuple):
    """Whom files in a container belong to."""

    uid: int
    gid: int


ROOT = Owner(0, 0)


class Archive:
    """Entries of a tar, made once and read by any number of threads at the same time."""

    def __init__(self, body: bytes | mmap.mmap) -> None:
        self._body = body
        self.size_bytes = len(body)

    def __repr__(self) -> str:
        return f"Archive({self.size_bytes} bytes)"  # what is in it may be secret

    def chunks(self) -> Iterator[bytes]:
        """Yield the entries, without the archive's end mark."""
        for start in range(0, self.size_bytes, CHUNK_BYTES):
            yield self._body[start : start + CHUNK_BYTES]


class Writer:
    """Makes an Archive: in memory, or (`on_disk`) in an unnamed temporary file.

    A context, which gives the file back; the archive stays.
    """

    def __init__(self, owner: Owner, *, on_disk: bool = False) -> None:
        self._owner = owner
        self._file: IO[bytes] = tempfile.TemporaryFile() if on_disk else io.BytesIO()  # noqa: SIM115
        # Never closed, which would write the end mark.
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add_path(self, source: str, name: str) -> None:
        """Add what lies at `source` (a file, folder or link, kept as it is) under `name`.

        Sockets, pipes and devices are left out. Raises OSError.
        """
        info = self._tar.gettarinfo(source, name.lstrip("/"))
        if info is None or not (info.isfile() or info.isdir() or info.issym()):
            return
        info.mtime = int(info.mtime)
        if not info.isreg():
            self._add(info)
            return
        with open(source, "rb") as file:
            self._add(info, file)

    def add_bytes(self, name: str, data: bytes, mode: int) -> None:
        """Add a file that holds `data`."""
        info = tarfile.TarInfo(name.lstrip("/"))
        info.size, info.mode = len(data), mode
        self._add(info, io.BytesIO(data))

    def add_folder(self, name: str, mode: int) -> None:
        """Add a folder; one that is there gets this mode and the owner."""
        info = tarfile.TarInfo(name.lstrip("/"))
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._add(info)

    def done(self) -> Archive:
        """Return what was added, in that order."""
        if isinstance(self._file, io.BytesIO):
            return Archive(self._file.getvalue())
        self._file.flush()
        descriptor = self._file.fileno()  # which a mapping outlives
        if not os.fstat(descriptor).st_size:
            return Archive(b"")
        return Archive(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))

    def _add(self, info: tarfile.TarInfo, file: IO[bytes] | None = None) -> None:
        # Hard links become files: what an archive says must not depend on what lies elsewhere.
        self._tar.inodes.clear()  # type: ignore[attr-defined]
        info.uid, info.gid = self._owner
        info.uname = info.gname = ""
        self._tar.addfile(info, file)
        self._tar.members.clear()  # type: ignore[attr-defined]


def put(engine: Engine, container_id: str, *archives: Archive) -> None:
    """Put archives into a container that was created and not started, by one call.

    Raises:
        HostError: the engine refused, or its disk is full.
    """
    size_bytes = sum(archive.size_bytes for archive in archives)
    if not size_bytes:
        return
    put_chunks(engine, container_id, _chunks(archives), whole=size_bytes <= _SENT_WHOLE_BYTES)


def put_chunks(
    engine: Engine, container_id: str, chunks: Iterator[bytes], *, whole: bool = False
) -> None:
    """Put a whole tar, given in pieces, at `/` of a container; `whole`: by one send."""
    data = b"".join(chunks) if whole else chunks
    with engine.errors("cannot put files into a container"):
        engine.api.put_archive(container_id, "/", data)


def _chunks(archives: tuple[Archive, ...]) -> Iterator[bytes]:
    for archive in archives:
        yield from archive.chunks()
    yield _END
