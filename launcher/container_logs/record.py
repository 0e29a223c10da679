"""A container's output on disk: its log, stderr alone, and how far both have come.

The record beside the log is written after what it speaks of, and replaced in one step: what the
files hold beyond it is cut off when they are opened again, and comes once more from the engine.
Where it does not fit the files, they begin anew.
"""

import contextlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, NamedTuple

from launcher.container_logs.lines import Text, Unended
from launcher.container_logs.position import Position
from launcher.errors import HostError

_SCHEMA = 1


class FilesError(HostError):
    """The files cannot be written; `cause` is the system's word."""

    def __init__(self, path: str, cause: OSError) -> None:
        self.cause = cause
        what = f"{path} cannot be written here: {cause.strerror}"
        super().__init__(f"{what}; the container keeps its log")


class Record(NamedTuple):
    """How far a container's output is in its files."""

    position: Position = Position()
    unended: Unended = Unended()
    is_complete: bool = False


class LogFiles:
    """The files of one container's output."""

    def __init__(self, container_id: str, log_path: str) -> None:
        """Open them, made where they are not there, at the end of what the record speaks of.

        Raises:
            FilesError: they cannot be written.
        """
        self._container_id = container_id
        self._path = log_path
        self._fds: list[int] = []
        self.record = Record()
        with self._errors():
            for path in (log_path, stderr_path(log_path)):
                self._fds.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
            self.record, sizes = self._read()
            self._cut(sizes)

    def append(self, text: Text) -> None:
        """Append to both logs. Raises FilesError."""
        with self._errors():
            for fd, data in zip(self._fds, text, strict=True):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]

    def save(self, record: Record) -> None:
        """Record how far the files have come. Raises FilesError."""
        sizes = [os.lseek(fd, 0, os.SEEK_CUR) for fd in self._fds]
        written = position_path(self._path)
        with self._errors():
            with open(f"{written}.new", "w") as file:
                json.dump(_as_json(record, self._container_id, sizes), file)
            os.replace(f"{written}.new", written)

    def begin_anew(self) -> None:
        """Empty the files. Raises FilesError."""
        self._cut([0, 0])

    def close(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.pop())

    def _read(self) -> tuple[Record, list[int]]:
        try:
            with open(position_path(self._path), "rb") as file:
                record, container_id, sizes = _from_json(json.load(file))
        except (OSError, ValueError, KeyError, TypeError):
            return Record(), [0, 0]
        have = [os.fstat(fd).st_size for fd in self._fds]
        fits = container_id == self._container_id and all(map(int.__le__, sizes, have))
        return (record, sizes) if fits else (Record(), [0, 0])

    def _cut(self, sizes: list[int]) -> None:
        with self._errors():
            for fd, size in zip(self._fds, sizes, strict=True):
                os.ftruncate(fd, size)
                os.lseek(fd, size, os.SEEK_SET)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise FilesError(self._path, error) from None


def stderr_path(log_path: str) -> str:
    """Return where a log's stderr alone is: `worker-0.1.log` → `worker-0.1.stderr.log`."""
    return f"{log_path.removesuffix('.log')}.stderr.log"


def position_path(log_path: str) -> str:
    """Return where it is recorded how far a log has come."""
    return f"{log_path.removesuffix('.log')}.position.json"


def _as_json(record: Record, container_id: str, sizes: list[int]) -> dict[str, object]:
    position = record.position
    return {
        "schema": _SCHEMA,
        "container": container_id,
        "sizes_bytes": sizes,
        "is_complete": record.is_complete,
        "since": position.since.decode(),
        "skip": position.skip,
        "total": position.total,
        "newest": position.newest.decode(),
        "last": position.last.decode(),
        "unended": [[stream, stamp.decode()] for stream, stamp in position.unended],
        "held": [[stream, b64encode(text).decode()] for stream, text in record.unended.held],
        "at_end": record.unended.at_end,
    }


def _from_json(value: dict[str, Any]) -> tuple[Record, str, list[int]]:
    if value["schema"] != _SCHEMA:
        raise ValueError
    position = Position(
        since=value["since"].encode(),
        skip=value["skip"],
        total=value["total"],
        newest=value["newest"].encode(),
        last=value["last"].encode(),
        unended=tuple((stream, stamp.encode()) for stream, stamp in value["unended"]),
    )
    held = tuple((stream, b64decode(text)) for stream, text in value["held"])
    unended = Unended(held, value["at_end"])
    return Record(position, unended, value["is_complete"]), value["container"], value["sizes_bytes"]
