"""Sends an image to a host as `docker load` takes it, without the layers that the host has.

An engine that keeps layers by their chain opens an archive's file of a layer only if it lacks that
layer. So the archive holds just the lacking ones, compressed as they are, and an engine that
keeps images in containerd gets them all. What is big goes in several archives, each a stack that
the engine keeps under a name: a shipment that was interrupted goes on behind the last of them.
"""

import bz2
import gzip
import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from launcher.engine import Engine
from launcher.images.cache import Blob
from launcher.images.identity import PARTIAL_LABEL, chain_id
from launcher.images.stream import CancelledTransfer, IsCancelled, events, until_cancelled

PARTIAL_REPOSITORY = "launch-partial"
PART_BYTES = 32 << 20  #: what one archive holds at least, if there is more to come

_SENT_AT_ONCE_BYTES = 256 << 10
_SMALL_BYTES = 256 << 10
_INFLATED_BYTES = 1 << 20  # of a small layer; bzip2 takes a tenth of a second for as much
_GZIP_BITS = 31
_CONFIG_NAME = "config.json"  # engines count digests by themselves: names may be short
_BLOCK = tarfile.BLOCKSIZE
OnSent = Callable[[int], None]  #: bytes sent of one archive


class Archive(NamedTuple):
    """A stack of layers and the files of those that the host lacks.

    config: the configuration of an image of exactly these layers.
    tag: its name on the host, where it needs one.
    """

    config: bytes
    layers: tuple[str, ...]
    blobs: Mapping[str, Blob]
    tag: str | None = None

    @property
    def image_id(self) -> str:
        """The id it gets on engines that count by configuration."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def size_bytes(self) -> int:
        """The layers to send."""
        return sum(blob.size_bytes for blob in self.blobs.values())

    def file_name(self, layer: str) -> str:
        """Return what a layer's file is called in it."""
        return f"{self.layers.index(layer)}.tar"


def archives(whole: Archive, image_id: str, created: str = "") -> tuple[Archive, ...]:
    """Return what to load one after the other; the last of them makes the image whole.

    created: the present time (RFC 3339), by which one sees later how old what was left is.
    """
    found = []
    waiting: dict[str, Blob] = {}
    for at, layer in enumerate(whole.layers, 1):
        if layer in whole.blobs:
            waiting[layer] = whole.blobs[layer]
        size_bytes = sum(blob.size_bytes for blob in waiting.values())
        if size_bytes >= PART_BYTES and at < len(whole.layers):
            stack = whole.layers[:at]
            part = _part_of(whole.config, stack, image_id, created)
            found.append(Archive(part, stack, waiting, _partial_name(stack)))
            waiting = {}
    return (*found, whole._replace(blobs=waiting))


def is_small(archive: Archive) -> bool:
    """Whether an archive is sent sooner than its host is asked what it has."""
    return archive.size_bytes <= _SMALL_BYTES


def _part_of(config: bytes, stack: tuple[str, ...], image_id: str, created: str) -> bytes:
    whole = json.loads(config)
    part = {key: whole[key] for key in ("architecture", "os", "variant") if key in whole}
    if created:
        part["created"] = created
    part["config"] = {"Labels": {PARTIAL_LABEL: image_id}}
    part["rootfs"] = {"type": "layers", "diff_ids": stack}
    return json.dumps(part, sort_keys=True).encode()


def _partial_name(stack: Sequence[str]) -> str:
    return f"{PARTIAL_REPOSITORY}:{chain_id(stack).removeprefix('sha256:')[:12]}"


def load(there: Engine, archive: Archive, on_sent: OnSent, is_cancelled: IsCancelled) -> None:
    """Return once the host's engine has an archive's layers, and its name if it has one.

    Raises:
        HostError: it does not take them, or cancelled.
    """
    body: bytes | Iterator[bytes] = _counted(_tar(archive), there.host, on_sent, is_cancelled)
    if is_small(archive):
        body = small_body(archive)
    # With progress asked for, the engine speaks while it unpacks, so that a cancel is noticed.
    params = {"quiet": "1" if is_small(archive) else "0"}
    headers = {"Content-Type": "application/x-tar"}
    with events(
        there, "/images/load", "could not load the image", params=params, headers=headers, body=body
    ) as said:
        for _ in until_cancelled(said, there.host, is_cancelled):
            pass
    if is_small(archive):
        on_sent(archive.size_bytes)


def small_body(archive: Archive) -> bytes:
    """Return a small archive compressed as a whole: mostly less than its layers' blobs are.

    What is around a layer is full of repetition, and bzip2 takes a tenth less than gzip for text.
    Docker reads either by itself.
    """
    whole = b"".join(part for part, _ in _tar(archive))
    found = gzip.compress(whole, mtime=0)
    layers = {layer: _inflated(blob) for layer, blob in archive.blobs.items()}
    raw = {layer: content for layer, content in layers.items() if content is not None}
    if len(raw) < len(layers):
        return found
    files = (_file(archive.file_name(layer), content) for layer, content in raw.items())
    plain = b"".join((*_described(archive), *files, bytes(2 * _BLOCK)))
    return min(found, bz2.compress(plain), key=len)


def _inflated(blob: Blob) -> bytes | None:
    """Return a layer as it was, None where that is large or its blob is no whole gzip file."""
    inflating = zlib.decompressobj(_GZIP_BITS)
    try:
        layer = inflating.decompress(blob.path.read_bytes(), _INFLATED_BYTES)
    except zlib.error:
        return None
    return layer if inflating.eof and not inflating.unused_data else None


def _counted(
    parts: Iterator[tuple[bytes, bool]], host: str, on_sent: OnSent, is_cancelled: IsCancelled
) -> Iterator[bytes]:
    sent_bytes = 0
    for part, is_layer in parts:
        if is_cancelled():
            raise CancelledTransfer(host)
        yield part
        if is_layer:
            sent_bytes += len(part)
            on_sent(sent_bytes)


def _tar(archive: Archive) -> Iterator[tuple[bytes, bool]]:
    """Yield an archive in parts, and of each whether it is a layer's."""
    small = b"".join(_described(archive))
    for layer, blob in archive.blobs.items():
        small += _header(archive.file_name(layer), blob.size_bytes)
        yield small, False
        yield from ((part, True) for part in _read(blob.path))
        small = _padding(blob.size_bytes)
    yield small + bytes(2 * _BLOCK), False


def _described(archive: Archive) -> Iterator[bytes]:
    """Yield the files that say what an archive holds."""
    manifest = {
        "Config": _CONFIG_NAME,
        "RepoTags": [archive.tag] if archive.tag else None,
        "Layers": [archive.file_name(layer) for layer in archive.layers],
    }
    yield _file("manifest.json", json.dumps([manifest]).encode())
    yield _file(_CONFIG_NAME, archive.config)


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + _padding(len(content))


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as blob:
        while part := blob.read(_SENT_AT_ONCE_BYTES):
            yield part
