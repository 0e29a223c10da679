"""What a run in a job has printed: the launcher's words in the job's file, tasks' in its logs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher import markers
from launcher.log_sources import in_order, logs_here
from launcher.platforms import Line

_LOOK_S = 0.2
_CHUNK_BYTES = 1 << 20


def lines(run_dir: Path, is_over: Callable[[], bool], *, follow: bool) -> Iterator[Line]:
    """Yield each line once; with `follow` until the job is over."""
    files: dict[str, _File] = {}
    while True:
        ended = not follow or is_over()  # before the last look
        for path, source in _files(run_dir):
            yield from files.setdefault(path, _File(path, source)).new()
        if ended:
            break
        time.sleep(_LOOK_S)
    for file in files.values():
        yield from file.rest()


def _files(run_dir: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(run_dir.glob("slurm-*.out")):
        yield str(path), ""
    for log in sorted(logs_here(run_dir, stderr=False), key=in_order):
        yield log.path, str(log.task)


class _File:
    """A file, read so far."""

    def __init__(self, path: str, source: str) -> None:
        self._path, self._source = path, source
        self._offset, self._partial = 0, b""

    def new(self) -> Iterator[Line]:
        """Yield the whole lines that have come."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                *whole, self._partial = (self._partial + chunk).split(b"\n")
                yield from (line for each in whole if (line := self._line(each)))

    def rest(self) -> Iterator[Line]:
        """Yield the last line, where nothing ends it."""
        if self._partial and (line := self._line(self._partial)):
            yield line

    def _line(self, line: bytes) -> Line | None:
        if markers.parse(line) is not None:
            return None
        return Line(self._source, line.decode("utf-8", "replace"))
