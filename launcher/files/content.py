"""What a folder of this machine holds: its entries in a fixed order, and one hash of all of it.

The hash depends on names, contents and whether a file is executable; on nothing else, so that a
copy elsewhere has the same. What was read once is not read again: size and times of every file
are kept with its digest in the user's cache folder, which may be deleted at any time.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from launcher.errors import InputError, Problem

_JUST_NOW_NS = 2_000_000_000  # a file this young may change again without a sign of it
_PROBLEMS_SHOWN = 20
_READ_BYTES = 1 << 20
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS digests "
    "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, digest BLOB)"
)


class Entry(NamedTuple):
    """A file, folder or link below the folder.

    mode: 0o755 for folders and what is executable, else 0o644: whoever a container runs as may
        read it.
    digest: SHA-256 of a file's content; empty for others.
    link: where a link leads; empty for others.
    """

    name: str
    mode: int
    size_bytes: int = 0
    mtime_s: int = 0
    digest: bytes = b""
    link: str = ""
    is_folder: bool = False


class Content(NamedTuple):
    """All that a folder holds, sorted by name, a folder before what is in it."""

    folder: str
    hash: str
    size_bytes: int
    entries: tuple[Entry, ...]


def cache_folder(environ: Mapping[str, str]) -> str:
    """Return the folder for what may be deleted at any time; it need not exist."""
    home = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "tf-config-launch")


def content_of(folder: str, cache: str, on_read: Callable[[int], None]) -> Content:
    """Return what `folder` holds.

    cache: folder for the digests.
    on_read: is called with the size of each piece that was read; it may raise to end this.

    Raises:
        InputError: what cannot be read, and links that lead out of the folder.
    """
    found = _walk(folder)
    with _Digests(os.path.join(cache, "digests.sqlite"), folder) as digests:
        entries = tuple(_digested(folder, found, digests, on_read))
    total = hashlib.sha256()
    for each in entries:
        kind = "folder" if each.is_folder else each.link or each.digest.hex()
        for part in (each.name, kind, str(each.mode), str(each.size_bytes)):
            total.update(os.fsencode(part) + b"\0")
    return Content(folder, total.hexdigest()[:32], sum(e.size_bytes for e in entries), entries)


def _walk(folder: str) -> list[tuple[Entry, os.stat_result]]:
    """Return the entries below a folder, without digests. Sockets, pipes and devices are none."""
    found: list[tuple[Entry, os.stat_result]] = []
    problems: list[Problem] = []
    unread = [""]
    while unread:
        inner = unread.pop()
        try:
            with os.scandir(os.path.join(folder, inner)) as entries:
                for item in entries:
                    entry = _entry(folder, item, inner)
                    if isinstance(entry, Problem):
                        problems.append(entry)
                    elif entry is not None:
                        found.append((entry, item.stat(follow_symlinks=False)))
                        if entry.is_folder:
                            unread.append(entry.name)
        except OSError as error:
            path = os.path.join(folder, inner).rstrip("/")
            problems.append(Problem(path, f"cannot be read: {error.strerror}"))
    if not found and not problems:
        problems.append(Problem(folder, "is empty; expected a folder that holds the data"))
    if problems:
        raise InputError(problems[:_PROBLEMS_SHOWN])
    return sorted(found, key=lambda each: each[0].name.split("/"))


def _entry(folder: str, item: "os.DirEntry[str]", inner: str) -> Entry | Problem | None:
    name = os.path.join(inner, item.name)
    if item.is_symlink():
        link = os.readlink(item.path)
        target = os.path.realpath(item.path)
        if os.path.isabs(link) or not target.startswith(f"{os.path.realpath(folder)}/"):
            what = f"leads to {link}; expected no link that leads out of {folder}"
            return Problem(item.path, what)
        return Entry(name, 0o777, link=link)
    seen = item.stat(follow_symlinks=False)
    mtime_s = int(seen.st_mtime)
    if item.is_dir(follow_symlinks=False):
        return Entry(name, 0o755, mtime_s=mtime_s, is_folder=True)
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Entry(name, 0o755 if seen.st_mode & 0o111 else 0o644, seen.st_size, mtime_s)


def _digested(
    folder: str,
    found: list[tuple[Entry, os.stat_result]],
    digests: "_Digests",
    on_read: Callable[[int], None],
) -> Iterator[Entry]:
    """Yield the entries, every file with its digest."""
    problems = []
    for entry, seen in found:
        if entry.is_folder or entry.link:
            yield entry
            continue
        digest = digests.get(entry.name, seen)
        if digest is None:
            path = os.path.join(folder, entry.name)
            try:
                digest = _digest(path, on_read)
            except OSError as error:
                problems.append(Problem(path, f"cannot be read: {error.strerror}"))
                continue
            digests.put(entry.name, seen, digest)
        yield entry._replace(digest=digest)
    if problems:
        raise InputError(problems[:_PROBLEMS_SHOWN])


def _digest(path: str, on_read: Callable[[int], None]) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
            on_read(len(data))
    return digest.digest()


class _Digests:
    """The digests of a folder's files as they were read last; without a cache, none."""

    def __init__(self, path: str, folder: str) -> None:
        self._folder = os.fsencode(os.path.join(os.path.realpath(folder), ""))
        self._new: list[tuple[bytes, int, int, int, bytes]] = []
        self._known: dict[bytes, tuple[int, int, int, bytes]] = {}
        self._path = path

    def __enter__(self) -> "_Digests":
        end = self._folder[:-1] + b"0"  # the byte after "/"
        query = "SELECT * FROM digests WHERE path >= ? AND path < ?"
        # Whatever is wrong with the cache, it only costs reading the files again.
        with contextlib.suppress(OSError, sqlite3.Error), self._database() as database:
            for path, size_bytes, mtime_ns, ctime_ns, digest in database.execute(
                query, (self._folder, end)
            ):
                self._known[path] = (size_bytes, mtime_ns, ctime_ns, digest)
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError, sqlite3.Error), self._database() as database:
            database.executemany("REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", self._new)
            database.commit()

    def get(self, name: str, seen: os.stat_result) -> bytes | None:
        known = self._known.get(self._folder + os.fsencode(name))
        if known is None or known[:3] != (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns):
            return None
        return known[3]

    def put(self, name: str, seen: os.stat_result, digest: bytes) -> None:
        if time.time_ns() - max(seen.st_mtime_ns, seen.st_ctime_ns) > _JUST_NOW_NS:
            path = self._folder + os.fsencode(name)
            self._new.append((path, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, digest))

    def _database(self) -> contextlib.closing[sqlite3.Connection]:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=10)
        try:
            database.execute(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return contextlib.closing(database)
