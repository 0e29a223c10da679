"""Downloads data files into a directory: whole and verified, or not at all.

This module knows HTTP and file:// through the standard library, and how a file is put in place so
that nobody ever sees a part of it: written under a temporary name beside its place, verified,
flushed to the disk, renamed. It does not know what is inside the files. Its command line is that of
mnist_data, where it is documented.

The temporary name of NAME is always `.NAME.part`, and whoever writes it holds its lock: a file that
a killed download left behind is found and removed by the next, one that is being written is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from _mnist_data_config import ConfigError, RemoteFile, read_config
from absl import app, flags, logging

CHUNK_BYTES = 1 << 20


class FetchError(Exception):
    """A file could not be fetched; nothing of it was kept, and what was in its place still is."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to try: after a failed attempt wait backoff_s, then twice that, and so on."""

    attempts: int = 4
    backoff_s: float = 1.0
    timeout_s: float = 30.0  # for a connection, and for each read from it


def fetch(
    file: RemoteFile,
    directory: Path,
    retry: Retry,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Puts the file into the directory, unless the right one is there already, and says which.

    A wrong file of that name is replaced, once the new one is verified. Another process that
    fetches the same file is waited for.

    Raises:
        FetchError: when it cannot be had, with the reason.
    """
    target = directory / file.name
    part = directory / f".{file.name}.part"
    try:
        if _has(target, file.sha256):
            _sweep(part)
            say(f"{target}: already there, sha256 verified")
            return
        with _writing(part, say) as stream:
            if _has(target, file.sha256):
                say(f"{target}: fetched by another process, sha256 verified")
                part.unlink()
                return
            size_bytes = _transfer(file, stream, retry, say, sleep)
            _put_in_place(part, stream, target)
        say(f"{target}: {size_bytes:,} bytes fetched from {file.source}, sha256 verified")
    except OSError as error:
        raise FetchError(f"{target}: {_reason(error)}") from error


def _transfer(
    file: RemoteFile,
    stream: IO[bytes],
    retry: Retry,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> int:
    """Fills the stream with the verified file, and returns its size in bytes."""
    for attempt in range(1, retry.attempts + 1):
        stream.truncate(0)
        try:
            sha256, size_bytes = _copy(file, stream, retry.timeout_s)
            break
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, HTTPError):
                error.close()  # it is a response too, with an open connection
            reason = f"{file.source}: {_reason(error)}"
            if not _is_transient(error):
                raise FetchError(reason) from error
            if attempt == retry.attempts:
                raise FetchError(f"{reason} (in the last of {attempt} attempts)") from error
            wait_s = retry.backoff_s * 2 ** (attempt - 1)
            say(f"{reason}; trying again in {wait_s:g} s")
            sleep(wait_s)
    if sha256 != file.sha256:
        got = f"{size_bytes:,} bytes of sha256 {sha256}"
        raise FetchError(f"{file.source}: {got}; expected sha256 {file.sha256}")
    return size_bytes


def _copy(file: RemoteFile, stream: IO[bytes], timeout_s: float) -> tuple[str, int]:
    """Streams the uri's content once; returns its sha256 and its size in bytes."""
    headers = {"User-Agent": "mnist_data", "Accept-Encoding": "identity"}
    request = Request(file.uri, headers=headers)  # noqa: S310, read_config knows the schemes
    digest = hashlib.sha256()
    done = 0
    with (
        urlopen(request, timeout=timeout_s) as response,  # noqa: S310, as above
        _progress(file.name) as show,
    ):
        total: int | None = getattr(response, "length", None)  # None: chunked, or a file
        while chunk := response.read(CHUNK_BYTES):
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            show(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"connection closed after {done:,} of {total:,} bytes")
    return digest.hexdigest(), done


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives a function that shows how far a file is, on one line of a terminal, gone at the end."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return

    def show(done: int, total: int | None) -> None:
        of = f" of {total:,} bytes, {done / total:.0%}" if total else " bytes"
        print(f"\r\x1b[K{name}: {done:,}{of}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _is_transient(error: Exception) -> bool:
    """Returns whether the same request may well succeed in a moment."""
    if isinstance(error, HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    if isinstance(cause, http.client.InvalidURL):
        return False
    return isinstance(cause, (TimeoutError, ConnectionError, http.client.HTTPException))


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _has(target: Path, sha256: str) -> bool:
    if not target.is_file():
        return False
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


@contextlib.contextmanager
def _writing(part: Path, say: Callable[[str], None]) -> Iterator[IO[bytes]]:
    """Gives the part file, locked and empty; removes it if anything goes wrong meanwhile."""
    stream = _locked(part, say)
    try:
        yield stream
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        stream.close()


def _locked(part: Path, say: Callable[[str], None]) -> IO[bytes]:
    while True:
        with contextlib.ExitStack() as undo:
            stream = undo.enter_context(part.open("ab"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{part}: another process writes it; waiting for that one to end")
                fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever held the lock has renamed or removed the file: then this is no longer it.
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                    undo.pop_all()
                    return stream


def _put_in_place(part: Path, stream: IO[bytes], target: Path) -> None:
    stream.flush()
    os.fsync(stream.fileno())
    part.replace(target)
    with contextlib.suppress(OSError):  # not every file system lets a directory be flushed
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _sweep(part: Path) -> None:
    """Removes what a killed download left, but not what another process is writing."""
    with contextlib.suppress(OSError), part.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink()


def main() -> None:
    """Runs the command line: exits 0 when every file is there, 1 if not, 2 if it is wrong."""
    flags.DEFINE_string("data_config", None, "the data.yaml that lists the files", required=True)
    flags.DEFINE_string("data_dir", None, "the directory to put them into", required=True)
    app.run(_download, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return list(flags.FLAGS(argv))
    except flags.Error as error:
        print(f"mnist_data: {error}", file=sys.stderr)
        sys.exit(2)


def _download(argv: Sequence[str]) -> int:
    if list(argv[1:]) != ["download"]:
        print(f"mnist_data: expected the command download, got {argv[1:]}", file=sys.stderr)
        return 2
    directory, log_dir = Path(flags.FLAGS.data_dir), flags.FLAGS.log_dir
    try:
        files = read_config(Path(flags.FLAGS.data_config))
        directory.mkdir(parents=True, exist_ok=True)
        if log_dir:
            Path(log_dir).mkdir(parents=True, exist_ok=True)
            logging.get_absl_handler().use_absl_log_file("mnist_data", log_dir)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that we clean up
    return _fetch_all(files, directory)


def _fetch_all(files: Sequence[RemoteFile], directory: Path) -> int:
    failed = False
    for file in files:
        try:
            fetch(file, directory, Retry(), _say)
        except FetchError as error:
            failed = True
            print(error, file=sys.stderr)
            if flags.FLAGS.log_dir:
                logging.error("%s", error)
        except KeyboardInterrupt:
            return 130
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, flush=True)
    if flags.FLAGS.log_dir:  # without, absl would print the line a second time
        logging.info("%s", line)
