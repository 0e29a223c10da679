"""Results on their way home: a folder of a container, as a folder here.

What comes from a container is not trusted (see unpack.py). A folder appears under its own name
only when all of it is here, so what lies there is whole, and what lay there before stays until
then. Files belong to whoever runs the launcher; under sudo that is root.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files import unpack
from launcher.files.unpack import Summary
from launcher.transfer import OnProgress, Progress

_MISSING = 404
_READ_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_SMALL_BYTES = 4 << 20  # is unpacked here: starting a process would take longer
_UNPACKING = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))  # processes at once


class Collected(NamedTuple):
    """What came home.

    skipped: entries that are not here (devices, links out of the folder …), each with the reason;
        at most 20 are named.
    """

    files: int
    size_bytes: int
    skipped: tuple[str, ...] = ()


def collect(
    engine: Engine,
    container_id: str,
    path: str,
    destination: Path,
    *,
    on_progress: OnProgress,
    is_cancelled: Callable[[], bool],
) -> Collected:
    """Bring the folder `path` of a container, running or not, to the folder `destination`.

    Afterwards `destination` holds exactly that, every size verified, in place of what was there.
    Memory is bounded, whatever the size.

    Raises:
        HostError: it could not be read, did not arrive whole, or has no room here; `destination`
            is as it was.
    """
    what = f"results of {destination.name}"
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with local(destination):
            _make_empty(partial)
        with _archive(engine, container_id, f"{path.rstrip('/')}/.") as stream:
            report = _Report(stream, engine.host, what, on_progress, is_cancelled)
            summary = _unpack(report, partial, path)
        _judge(summary, engine.host, destination)
        with local(destination):
            swap(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    on_progress(Progress(engine.host, what, report.done_bytes, report.done_bytes, is_done=True))
    return Collected(summary.files, summary.size_bytes, summary.skipped)


def collect_file(
    engine: Engine,
    container_id: str,
    path: str,
    destination: Path,
    *,
    is_cancelled: Callable[[], bool],
) -> bool:
    """Bring one file of a container, whole, in place of what is at `destination`.

    Returns whether there was such a file, or is any more. Raises HostError as `collect` does.
    """
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with local(destination):
            _make_empty(partial)
        with _archive(engine, container_id, path) as stream:
            what = f"file {destination.name}"
            report = _Report(stream, engine.host, what, lambda _: None, is_cancelled)
            summary = _unpack(report, partial, os.path.dirname(path))
        _judge(summary, engine.host, destination)
        came = partial / os.path.basename(path)
        if came.is_symlink() or not came.is_file():
            return False
        with local(destination):
            came.replace(destination)
        return True
    except EngineError as error:
        if error.status != _MISSING:
            raise
        return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Archive:
    """The tar that an engine sends."""

    def __init__(self, engine: Engine, container_id: str, path: str) -> None:
        query = urlencode({"path": path})
        self._engine = engine
        self._answer = engine.get(f"/containers/{container_id}/archive?{query}", unchunked=True)

    def read(self) -> bytes:
        """Return some bytes as soon as there are any; none at the end. Raises HostError."""
        with self._engine.errors("stopped sending results"):
            return bytes(self._answer.raw.read1(_READ_BYTES))

    def close(self) -> None:
        self._answer.close()


@contextlib.contextmanager
def _archive(engine: Engine, container_id: str, path: str) -> Iterator[_Archive]:
    archive = _Archive(engine, container_id, path)
    try:
        yield archive
    finally:
        archive.close()


class _Report:
    """Reads an archive, says how far it has come, and stops when told to."""

    def __init__(
        self,
        archive: _Archive,
        host: str,
        what: str,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._archive = archive
        self._host = host
        self._what = what
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self.done_bytes = 0

    def read(self) -> bytes:
        if self._is_cancelled():
            raise HostError(f"{self._host}: stopped before the {self._what} were home")
        data = self._archive.read()
        self.done_bytes += len(data)
        self._on_progress(Progress(self._host, self._what, self.done_bytes, None))
        return data


def _unpack(report: _Report, folder: Path, prefix: str) -> Summary:
    """Unpack what `report` reads: a little of it here, more in a process of its own."""
    start = bytearray()
    while len(start) < _SMALL_BYTES:
        data = report.read()
        if not data:
            return unpack.unpack(io.BytesIO(start), str(folder), prefix)
        start += data
    with _UNPACKING:
        return _unpack_beside(bytes(start), report, folder, prefix)


def _unpack_beside(start: bytes, report: _Report, folder: Path, prefix: str) -> Summary:
    argv = [sys.executable, "-I", unpack.__file__, str(folder), prefix]
    process = subprocess.Popen(
        argv, bufsize=0, pipesize=_PIPE_BYTES,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,  # the terminal's ^C is the launcher's to handle
    )  # fmt: skip
    with process:
        try:
            _feed(process, start, report)
        except BaseException:
            process.kill()
            raise
        out, _ = process.communicate()
    try:
        summary = Summary(**json.loads(out))
    except ValueError:
        raise HostError(f"{folder}: unpacking ended with exit code {process.returncode}") from None
    return summary._replace(skipped=tuple(summary.skipped))


def _feed(process: "subprocess.Popen[bytes]", data: bytes, report: _Report) -> None:
    """Give the process all that arrives; it may end early, with a problem."""
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        while data:
            rest = memoryview(data)
            while rest:
                rest = rest[process.stdin.write(rest) :]
            data = report.read()


def _judge(summary: Summary, host: str, destination: Path) -> None:
    if not summary.problem:
        return
    if summary.is_local:
        raise HostError(f"{destination}: cannot be written: {summary.problem}")
    raise HostError(f"{host}: results did not arrive whole: {summary.problem}")


def _make_empty(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir()


def swap(new: Path, destination: Path) -> None:
    """Put a folder in another's place; what was there goes last."""
    old = destination.with_name(f".{destination.name}.old")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(old)
    with contextlib.suppress(FileNotFoundError):
        destination.rename(old)
    new.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def local(destination: Path) -> Iterator[None]:
    """Turn a problem of the disk here into a HostError that names the path."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{destination}: cannot be written: {error.strerror}") from None
