"""Takes layers out of the archive that `docker save` makes of an image, into the layer cache.

The archive always holds the whole image, so this is for engines that cannot push to us.
"""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import IO, cast

from launcher.engine import Engine, EngineError
from launcher.images.cache import LayerCache, Upload
from launcher.images.identity import Identity
from launcher.images.stream import CancelledTransfer, IsCancelled

_PART_BYTES = 1 << 20
_CONFIG_BYTES = 8 << 20
_LEVEL = 1  # three times as fast as the usual 6, for blobs a tenth larger
_DOING = "could not save the image"


def save(
    here: Engine,
    image: Identity,
    wanted: Collection[str],
    cache: LayerCache,
    on_packed: Callable[[int, int | None], None],
    is_cancelled: IsCancelled,
) -> None:
    """Put the wanted layers and the configuration of an image into the cache.

    Raises:
        HostError: the engine does not save it, or cancelled.
    """
    texts: dict[str, bytes] = {}
    answer = here.get(f"/images/{image.id}/get")
    try:
        raw = cast(IO[bytes], answer.raw)
        with here.errors(_DOING), answer, tarfile.open(fileobj=raw, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                head = content.read(min(member.size, 512))
                if head[:1] in (b"{", b"[") and member.size < _CONFIG_BYTES:
                    texts[member.name] = head + content.read()
                else:
                    _keep(cache, wanted, _parts(head, content, here.host, is_cancelled))
                on_packed(member.offset_data + member.size, None)
    except tarfile.TarError as error:
        raise EngineError(here.host, _DOING, str(error)) from None
    manifest = json.loads(texts.get("manifest.json", b"[]"))
    config = texts.get(manifest[0]["Config"]) if manifest else None
    if config is not None:
        cache.learn_config(image.id, cache.put(config))


def _parts(
    head: bytes, content: IO[bytes], host: str, is_cancelled: IsCancelled
) -> Iterator[bytes]:
    yield head
    while part := content.read(_PART_BYTES):
        if is_cancelled():
            raise CancelledTransfer(host)
        yield part


def _keep(cache: LayerCache, wanted: Collection[str], parts: Iterator[bytes]) -> None:
    """Store a file of the archive if it turns out to be a wanted layer."""
    first = next(parts)
    squeeze = _store if first.startswith(b"\x1f\x8b") else _compress
    with cache.upload() as upload:
        layer = f"sha256:{squeeze(upload, first, parts)}"
        if layer in wanted:
            cache.learn({layer: upload.finish()})


def _store(upload: Upload, first: bytes, parts: Iterator[bytes]) -> str:
    """Write what is compressed already; return the hash of what is in it."""
    inflate, plain = zlib.decompressobj(wbits=31), hashlib.sha256()
    part: bytes | None = first
    while part is not None:
        upload.write(part)
        plain.update(inflate.decompress(part))
        part = next(parts, None)
    return plain.hexdigest()


def _compress(upload: Upload, first: bytes, parts: Iterator[bytes]) -> str:
    deflate, plain = zlib.compressobj(_LEVEL, wbits=31), hashlib.sha256()
    part: bytes | None = first
    while part is not None:
        upload.write(deflate.compress(part))
        plain.update(part)
        part = next(parts, None)
    upload.write(deflate.flush())
    return plain.hexdigest()
