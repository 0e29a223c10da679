"""Unpacks a tar that nobody vouches for, from standard input into an empty folder.

    python -I unpack.py FOLDER PREFIX < archive

A program of its own, as well as a function: beside a launcher that decrypts what arrives, it uses
another core. It needs the standard library only (before
Python 3.11.4 backports.tarfile too), and ends with one JSON object, a `Summary`.

tarfile's `data` filter says what may be unpacked. Not on its word alone, as it has had holes (such
as CVE-2025-4517): the folder is new, and holds no symbolic link before everything else is written.
"""

import contextlib
import errno
import io
import json
import os
import stat
import sys
import tarfile
from typing import IO, NamedTuple

if not hasattr(tarfile, "data_filter"):  # Python 3.11.0 to 3.11.3
    with contextlib.suppress(ImportError):
        from backports import tarfile  # type: ignore[import-not-found,no-redef]

BUFFER_BYTES = 1 << 18
_HEADER_BYTES = 1 << 20  # what Go's archive/tar, which Docker uses, allows a header's records
_SKIPPED_NAMED = 20
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS)  # of a file system, or a kernel, without it
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Summary(NamedTuple):
    """What came of it.

    problem: why the archive could not be unpacked wholly; empty otherwise.
    is_local: whether `problem` is one of the disk here, not of what arrived.
    skipped: what the filter refused, or a file system cannot hold, each with the reason.
    """

    files: int
    size_bytes: int
    skipped: tuple[str, ...] = ()
    problem: str = ""
    is_local: bool = False


class Damaged(Exception):
    """The archive ended early, or is none."""


def unpack(source: IO[bytes], folder: str, prefix: str) -> Summary:
    """Unpack the archive `source` into the empty `folder` and compare sizes.

    prefix: where the archive's root lay in the container; links that name it become relative.
    """
    if not hasattr(tarfile, "data_filter"):
        needed = "needs Python 3.11.4 or newer, whose tarfile has the `data` filter"
        return Summary(0, 0, problem=f"unpacking what is not trusted {needed}", is_local=True)
    try:
        return _Unpacking(source, folder, prefix).run()
    except (Damaged, tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        return Summary(0, 0, problem=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Summary(0, 0, problem=f"{where}{error.strerror or error}", is_local=True)


class _Forward(io.RawIOBase):
    """A stream that can be asked where it is, and to skip; tarfile needs no more than that."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._at = 0
        self._pipe = _pipe_of(source)

    def read(self, size: int = -1) -> bytes:
        if size > _HEADER_BYTES:  # it would be held in memory
            raise Damaged(f"one of its headers claims {size} bytes")
        data = self._source.read(size)
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more  # a pipe gives what it has
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, _whence: int = 0) -> int:
        if to < self._at:
            raise Damaged("it leads backwards")
        while self._at < to and self.read(min(to - self._at, BUFFER_BYTES)):
            pass
        return self._at

    def copy(self, file: int, size: int) -> None:
        """Move the next `size` bytes, fewer at the end, to an open file."""
        while size > 0 and (moved := self._splice(file, size) or self._write(file, size)):
            size -= moved

    def _splice(self, file: int, size: int) -> int:
        """Let the kernel move bytes, which never come here; return 0 where it cannot."""
        if self._pipe is None:
            return 0
        try:
            moved = os.splice(self._pipe, file, size)
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            self._pipe = None
            return 0
        self._at += moved
        return moved

    def _write(self, file: int, size: int) -> int:
        data = self.read(min(size, BUFFER_BYTES))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        return len(data)


def _pipe_of(source: IO[bytes]) -> int | None:
    """Return the pipe that `source` reads from without a buffer of its own, if it does."""
    if not isinstance(source, io.FileIO) or not hasattr(os, "splice"):
        return None
    return source.fileno() if stat.S_ISFIFO(os.fstat(source.fileno()).st_mode) else None


class _Unpacking:
    """One archive on its way into a folder."""

    def __init__(self, source: IO[bytes], folder: str, prefix: str) -> None:
        self._stream = _Forward(source)
        self._folder = os.path.realpath(folder)
        self._prefix = prefix.rstrip("/") + "/"
        self._links: list[tarfile.TarInfo] = []
        self._folders: list[tarfile.TarInfo] = []
        self._skipped: list[str] = []
        self._files = 0
        self._size_bytes = 0

    def run(self) -> Summary:
        with tarfile.open(fileobj=self._stream, mode="r:") as tar:
            tar.copybufsize = BUFFER_BYTES  # type: ignore[attr-defined]
            while (member := tar.next()) is not None:
                self._take(tar, member)
                tar.members.clear()  # type: ignore[attr-defined]  # they pile up
            # A tar that was cut off between two files is whole but for its end mark.
            if self._stream.tell() - tar.offset != tarfile.BLOCKSIZE:
                raise Damaged("it ended early")
        self._make_links()
        self._set_times()
        self._compare()
        return Summary(self._files, self._size_bytes, tuple(self._skipped))

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Unpack an entry, or keep it for later where it is a link."""
        if member.issym() and member.linkname.startswith(self._prefix):
            at = os.path.dirname(f"{self._prefix}{member.name}")
            member.linkname = os.path.relpath(member.linkname, at)
        try:
            allowed = tarfile.data_filter(member, self._folder)
        except tarfile.FilterError as error:
            self._skip(member.name, str(error))
            return
        if allowed.issym():
            self._links.append(allowed)
        elif allowed.islnk() and not os.path.isfile(self._path(allowed.linkname)):
            self._skip(allowed.name, f"a link to {allowed.linkname}, which is no file")
        elif allowed.isreg() and not allowed.issparse():
            self._write(allowed)
        else:
            tar.extract(allowed, self._folder, filter="fully_trusted")
            self._note(allowed)

    def _write(self, member: tarfile.TarInfo) -> None:
        """Write the file whose bytes come next: what tarfile does, without looking at them."""
        file = self._new_file(self._path(member.name))
        try:
            self._stream.copy(file, member.size)
            size_bytes = os.fstat(file).st_size
            with contextlib.suppress(OSError):  # a file system may have neither
                os.fchmod(file, member.mode)
                os.utime(file, (member.mtime, member.mtime))
        finally:
            os.close(file)
        self._count(member, size_bytes)

    @staticmethod
    def _new_file(path: str) -> int:
        try:
            return os.open(path, _NEW_FILE, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return os.open(path, _NEW_FILE, 0o600)

    def _note(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            self._folders.append(member)
            return
        self._count(member, os.lstat(self._path(member.name)).st_size)

    def _count(self, member: tarfile.TarInfo, size_bytes: int) -> None:
        if member.isreg() and size_bytes != member.size:
            raise Damaged(f"{member.name} has {size_bytes} of {member.size} bytes")
        self._files += 1
        self._size_bytes += size_bytes

    def _make_links(self) -> None:
        """Make symbolic links; those that lead out of the folder, through others, are skipped."""
        made = []
        for link in self._links:
            path = self._path(link.name)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink(link.linkname, path)
            except FileExistsError:
                self._skip(link.name, "its name is used twice")
            else:
                made.append(link)
        for link in made:
            if not self._leads_inside(self._path(link.name)):
                os.unlink(self._path(link.name))
                self._skip(link.name, f"a link to {link.linkname}, out of the folder")

    def _leads_inside(self, path: str) -> bool:
        try:
            target = os.path.realpath(path, strict=True)
        except FileNotFoundError:
            target = os.path.realpath(path)
        except OSError:
            return False  # a loop, or longer than a path can be: nobody can say where it leads
        return target == self._folder or target.startswith(f"{self._folder}/")

    def _set_times(self) -> None:
        """Give folders their times, the deepest first: what is made in one changes its own."""
        for folder in sorted(self._folders, key=lambda each: each.name, reverse=True):
            os.utime(self._path(folder.name), (folder.mtime, folder.mtime))

    def _compare(self) -> None:
        """Compare what lies on disk with what the archive's headers said."""
        files = size_bytes = 0
        unread = [self._folder]
        while unread:
            with os.scandir(unread.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        unread.append(entry.path)
                    elif not entry.is_symlink():
                        files += 1
                        size_bytes += entry.stat(follow_symlinks=False).st_size
        if (files, size_bytes) != (self._files, self._size_bytes):
            was = f"{self._files} files of {self._size_bytes} bytes arrived"
            raise Damaged(f"{was}, {files} of {size_bytes} bytes are on the disk")

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _skip(self, name: str, why: str) -> None:
        if len(self._skipped) < _SKIPPED_NAMED:
            self._skipped.append(f"{os.path.normpath(name)}: {why}")


def main() -> None:
    """Unpack as the command line says, and write the summary."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
        summary = unpack(source, sys.argv[1], sys.argv[2])
    json.dump(summary._asdict(), sys.stdout)


if __name__ == "__main__":
    main()
