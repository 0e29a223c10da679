"""Compressed layers of this user's images, kept between runs on the launching machine.

Blobs are named by their content, and next to them stands which layer each holds. Several
launchers may use one cache at once: files appear whole, by rename, and whoever has opened one may
go on reading it after it was evicted. What a layer is for, the cache does not know.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

CAP_BYTES = 20 << 30
_ABANDONED_S = 24 * 3600  # an upload that no launcher has finished for so long has no launcher


class Blob(NamedTuple):
    """A compressed layer in the cache."""

    digest: str
    path: Path
    size_bytes: int


class LayerCache:
    """Content-addressed blobs under one folder, the least recently used removed beyond a cap."""

    def __init__(self, folder: Path, cap_bytes: int = CAP_BYTES) -> None:
        self.folder = folder
        self._cap_bytes = cap_bytes
        self._blobs = folder / "blobs"
        self._layers = folder / "layers"  # of each layer: the digest of its blob
        self._digests = folder / "digests"  # of each blob: the layer in it
        self._images = folder / "images"  # of each image: the digest of its configuration
        self._parts = folder / "parts"  # of each host: whether a shipment was interrupted there
        self._uploads = folder / "uploads"
        for name in ("blobs", "layers", "digests", "images", "parts", "uploads"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def blob(self, digest: str) -> Blob | None:
        """Return the blob with a digest, and note that it was used."""
        path = self._blobs / _hex(digest)
        try:
            os.utime(path)
            return Blob(digest, path, path.stat().st_size)
        except OSError:
            return None

    def layer(self, layer: str) -> Blob | None:
        """Return the blob that holds a layer."""
        digest = _read(self._layers / _hex(layer))
        return self.blob(digest) if digest else None

    def layer_of(self, digest: str) -> str | None:
        """Return the layer that a blob holds, also where the blob itself is gone."""
        return _read(self._digests / _hex(digest)) or None

    def learn(self, layers: Mapping[str, str]) -> None:
        """Note which blob holds which layer: digests by layer."""
        for layer, digest in layers.items():
            self._write(self._digests / _hex(digest), layer)
            if self.blob(digest) or not self.layer(layer):
                self._write(self._layers / _hex(layer), digest)

    def config(self, image_id: str) -> bytes | None:
        """Return the configuration of an image, if it was packed before."""
        digest = _read(self._images / _hex(image_id))
        blob = self.blob(digest) if digest else None
        return blob.path.read_bytes() if blob else None

    def learn_config(self, image_id: str, digest: str) -> None:
        """Note which blob is the configuration of an image."""
        self._write(self._images / _hex(image_id), digest)

    def note_parts(self, host: str) -> None:
        """Note that parts of an image are about to be named on a host."""
        self._write(self._parts / quote(host, safe=""), "")

    def has_parts(self, host: str) -> bool:
        """Whether parts of an image may be on a host."""
        return (self._parts / quote(host, safe="")).exists()

    def forget_parts(self, host: str) -> None:
        """Note that no part is left on a host."""
        (self._parts / quote(host, safe="")).unlink(missing_ok=True)

    def upload(self) -> "Upload":
        """Return a new blob to write to."""
        return Upload(self._uploads, self._blobs)

    def put(self, content: bytes) -> str:
        """Store a small blob; return its digest."""
        with self.upload() as upload:
            upload.write(content)
            return upload.finish()

    def discard(self, digest: str) -> None:
        """Remove a blob, because it turned out not to hold what it should."""
        (self._blobs / _hex(digest)).unlink(missing_ok=True)

    def evict(self, keep: Iterable[str] = ()) -> None:
        """Remove what was used least recently beyond the cap, and abandoned uploads.

        keep: digests of blobs to spare, as they are about to be sent.
        """
        spared = {_hex(digest) for digest in keep}
        blobs = sorted(_stats(self._blobs), key=lambda found: found[1].st_mtime)
        excess_bytes = sum(stat.st_size for _, stat in blobs) - self._cap_bytes
        for path, stat in blobs:
            if excess_bytes > 0 and path.name not in spared:
                path.unlink(missing_ok=True)
                excess_bytes -= stat.st_size
        for path, stat in _stats(self._uploads):
            if stat.st_mtime < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self._uploads)
        with open(handle, "w") as file:
            file.write(text)
        os.replace(name, path)


class Upload:
    """A blob on its way into the cache; gone again unless it is finished."""

    def __init__(self, uploads: Path, blobs: Path) -> None:
        handle, name = tempfile.mkstemp(dir=uploads)
        self._file: BinaryIO = open(handle, "wb")  # noqa: SIM115 - closed by close()
        self._path = Path(name)
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, part: bytes) -> None:
        """Append. Raises OSError, as when the disk is full."""
        self._file.write(part)
        self._hash.update(part)
        self.size_bytes += len(part)

    def finish(self, expected: str | None = None) -> str:
        """Make it a blob of the cache; return its digest.

        Raises:
            ValueError: it is not what was announced.
            OSError: it cannot be written.
        """
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected and expected != digest:
            raise ValueError(f"expected {expected}, got {digest}")
        self._file.close()
        os.replace(self._path, self._blobs / _hex(digest))
        return digest

    def close(self) -> None:
        """Remove what was not finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def default_folder(environ: Mapping[str, str]) -> Path:
    """Return where this user's layers are kept, by the XDG rules."""
    caches = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home(), ".cache")
    return Path(caches, "launch", "layers")


def _hex(digest: str) -> str:
    """Return the file's name for a digest. It came from outside: only hexadecimal digits pass."""
    name = digest.removeprefix("sha256:")
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise ValueError(f"{digest[:80]!r} is no sha256 digest")
    return name


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _stats(folder: Path) -> Iterable[tuple[Path, os.stat_result]]:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another launcher removed it
            yield path, path.stat()
