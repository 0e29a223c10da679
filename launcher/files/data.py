"""A folder of this machine, as a Docker volume on every host that needs it.

The volume is named by the content's hash, so that what is there already is used again, by any
run. What is sent goes in archives of some seconds each, and is hashed once more on its way.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator

from launcher.engine import Engine
from launcher.errors import HostError, LaunchError
from launcher.files.archive import CHUNK_BYTES, put_chunks
from launcher.files.content import Content, Entry, cache_folder, content_of
from launcher.files.volume import SENT, TARGET, DataVolume, name_of
from launcher.transfer import OnProgress, Progress

_BATCH_BYTES = 32 << 20  # an archive ends with the first file after so many bytes …
_BATCH_S = 5.0  # … and seconds
_WAIT_S = 0.2
_DECIDED_S = 6.0


class DataSync:
    """One run's folder of data on its way to the run's hosts; thread-safe."""

    def __init__(
        self, folder: str, *, on_progress: OnProgress, is_cancelled: Callable[[], bool]
    ) -> None:
        self._folder = folder
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._lock = threading.Lock()
        self._known: Content | LaunchError | None = None

    def volume(self) -> str:
        """Return the name of the volume that holds the folder's content; reads the folder once.

        Raises:
            InputError: what cannot be read.
            HostError: cancelled.
        """
        return name_of(self._content().hash)

    def ensure(self, there: Engine, image_id: str) -> str:
        """Return the name of the volume on that host, once it holds the folder's content.

        May be called for all hosts at once. What an interrupted call has sent is not sent again.

        image_id: any image of that host.

        Raises:
            InputError: what cannot be read.
            HostError: the host has no room, another machine is sending the same, the folder
                changed meanwhile, or cancelled.
        """
        content = self._content()
        volume = DataVolume(there, content.hash)
        if not volume.is_complete():
            with self._alone(there, volume.name):
                if not volume.is_complete():
                    fill = volume.begin()
                    self._send(there, volume, volume.container(image_id), content)
                    volume.complete(fill)
        return volume.name

    def await_whole(self, there: Engine) -> None:
        """Return where the volume, which a container has now, holds all of the content.

        It may have been removed before the container was made, as nothing used it then. Who
        removes it lets others wait for a moment until it is decided.

        Raises:
            HostError: it does not.
        """
        volume = DataVolume(there, self._content().hash)
        give_up_at = time.monotonic() + _DECIDED_S
        while not volume.is_complete():
            if time.monotonic() > give_up_at:
                raise HostError(
                    f"{there.host}: {self._what} was removed while the task was being made; start "
                    "the run again"
                )
            time.sleep(_WAIT_S)

    def _content(self) -> Content:
        with self._lock:
            if self._known is None:
                try:
                    self._known = self._read()
                except LaunchError as error:
                    self._known = error
        if isinstance(self._known, LaunchError):
            raise self._known
        return self._known

    def _read(self) -> Content:
        read_bytes, here, what = 0, socket.gethostname(), f"reading {self._folder}"

        def on_read(more_bytes: int) -> None:
            nonlocal read_bytes
            self._go_on(here)
            read_bytes += more_bytes
            self._on_progress(Progress(here, what, read_bytes, None))

        content = content_of(self._folder, cache_folder(os.environ), on_read)
        if read_bytes:
            self._on_progress(Progress(here, what, read_bytes, read_bytes, is_done=True))
        return content

    @contextlib.contextmanager
    def _alone(self, there: Engine, name: str) -> Iterator[None]:
        """Let one run of this user fill a volume at a time; one that is killed lets go of it."""
        with there.errors("does not say who it is"):
            engine_id = there.api.info()["ID"]
        key = hashlib.sha256(f"{engine_id} {name}".encode()).hexdigest()[:16]
        with _lock_file(os.path.join(cache_folder(os.environ), f"data-{key}.lock")) as file:
            while not _locked(file):
                self._go_on(there.host)
                self._say(there, 0, 0, "another run is sending it")
                time.sleep(_WAIT_S)
            yield

    def _send(self, there: Engine, volume: DataVolume, container_id: str, content: Content) -> None:
        at = volume.entries_sent(container_id)
        done_bytes = sum(entry.size_bytes for entry in content.entries[:at])
        self._say(there, done_bytes, content.size_bytes, "")
        while at < len(content.entries):
            batch = _Batch(content, at)

            def chunks(batch: _Batch = batch, before: int = done_bytes) -> Iterator[bytes]:
                for chunk in batch.chunks():
                    self._go_on(there.host)
                    self._say(there, before + batch.sent_bytes, content.size_bytes, "")
                    yield chunk

            put_chunks(there, container_id, chunks())
            at, done_bytes = batch.end, done_bytes + batch.sent_bytes
        done = Progress(there.host, self._what, done_bytes, content.size_bytes, is_done=True)
        self._on_progress(done)

    @property
    def _what(self) -> str:
        return f"data {self._folder}"

    def _say(self, there: Engine, done_bytes: int, total_bytes: int, detail: str) -> None:
        self._on_progress(Progress(there.host, self._what, done_bytes, total_bytes, detail))

    def _go_on(self, host: str) -> None:
        if self._is_cancelled():
            raise HostError(f"{host}: stopped before {self._what} was there; a next run goes on")


class _Batch:
    """Some of a content's entries as one tar, with a note in it of how far that is."""

    def __init__(self, content: Content, start: int) -> None:
        self._content = content
        self.end = start
        self.sent_bytes = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive. Raises HostError when a file is no longer what it was."""
        started = time.monotonic()
        if not self.end:
            yield _header(Entry("", 0o755, is_folder=True))
        for entry in self._content.entries[self.end :]:
            yield _header(entry)
            if entry.digest:
                yield from self._file(entry)
            self.end += 1
            if self.sent_bytes >= _BATCH_BYTES and time.monotonic() - started >= _BATCH_S:
                break
        yield _note(self.end)

    def _file(self, entry: Entry) -> Iterator[bytes]:
        path = os.path.join(self._content.folder, entry.name)
        digest, left = hashlib.sha256(), entry.size_bytes
        try:
            with open(path, "rb", buffering=0) as file:
                while left and (data := file.read(min(left, CHUNK_BYTES))):
                    digest.update(data)
                    left -= len(data)
                    self.sent_bytes += len(data)
                    yield data
        except OSError as error:
            raise HostError(f"{path}: cannot be read any more: {error.strerror}") from None
        if digest.digest() != entry.digest:
            raise HostError(f"{path}: changed while it was being sent; start the run again")
        yield bytes(-entry.size_bytes % tarfile.BLOCKSIZE)


def _header(entry: Entry) -> bytes:
    info = tarfile.TarInfo(f"{TARGET}/{entry.name}")
    info.mode, info.size, info.mtime = entry.mode, entry.size_bytes, entry.mtime_s
    if entry.is_folder:
        info.type = tarfile.DIRTYPE
    elif entry.link:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
    return info.tobuf(tarfile.PAX_FORMAT)


def _note(entries: int) -> bytes:
    """Return the end of an archive: a file that says how many entries are there then."""
    file = io.BytesIO()
    text = str(entries).encode()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo(SENT)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return file.getvalue()


@contextlib.contextmanager
def _lock_file(path: str) -> Iterator[int]:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = f"{error.strerror}; name a folder that can be written to in $XDG_CACHE_HOME"
        raise HostError(f"{path}: cannot be made: {why}") from None
    try:
        yield file
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
