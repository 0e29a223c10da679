"""Ships this machine's image to one host: what that host lacks, compared once it is there.

A connection that breaks, or a spoilt layer in the cache, is worth a second try, which goes on
behind what has arrived.
"""

import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import accumulate

from docker.errors import ImageNotFound

from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.images import loading
from launcher.images.cache import Blob, LayerCache
from launcher.images.identity import (
    Identity,
    check_architecture,
    has_content_store,
    inspect,
    longest_prefix,
    partial,
)
from launcher.images.packing import Packing
from launcher.images.stream import IsCancelled

OnShipped = Callable[[int, int, str], None]  #: (bytes sent, bytes to send, more to show)

_SPOILT = ("diffid", "gzip", "archive/tar", "unexpected eof", "flate", "no such file")
_TRIES = 2
_TRIED_BYTES = 4 << 20  # not compressed; more is packed only for a host that lacks it


class Shipping:
    """One image on its way from here; thread-safe, a host a thread."""

    def __init__(
        self, image: Identity, packing: Packing, cache: LayerCache, is_cancelled: IsCancelled
    ) -> None:
        self._image = image
        self._packing = packing
        self._cache = cache
        self._is_cancelled = is_cancelled

    def ship(self, there: Engine, name: str, on_shipped: OnShipped) -> str:
        """Return the image's id on a host, once it is there under `name`, whole and compared.

        Raises:
            HostError: no room, no connection, or cancelled.
        """
        for more in reversed(range(_TRIES)):
            try:
                return self._ship(there, name, on_shipped)
            except EngineError as error:
                if not more or not (_is_spoilt(error) or error.status is None):
                    raise
        raise AssertionError

    def _ship(self, there: Engine, name: str, on_shipped: OnShipped) -> str:
        check_architecture(there, self._image.architecture)
        if self._replaced_top(there, name, on_shipped):
            return self._image.id
        same = inspect(there, name)
        if same and same.is_same(self._image):  # an engine that counts ids in another way
            return same.id
        layers = self._image.layers
        stores_content = has_content_store(there)
        first = 0 if stores_content else longest_prefix(there, layers, name)
        config, blobs = self._packing.pack(layers[first:])
        whole = loading.Archive(config, layers, blobs, name)
        parts = (whole,) if stores_content else loading.archives(whole, self._image.id, _now())
        if len(parts) > 1:
            self._cache.note_parts(there.host)
        sent = _Sent(parts, first, on_shipped)
        for part in parts:
            self._load(there, part, sent)
        found = self._compared(there, name if stores_content else whole.image_id)
        self._forget_parts(there)
        return found.id

    def _replaced_top(self, there: Engine, name: str, on_shipped: OnShipped) -> bool:
        """Try whether a host lacks but the top layer, as after an edit; return whether it did.

        Where it is small, sending it costs less than asking. An engine that lacks more refuses.
        One that takes it has counted the image's id over the configuration and, through that,
        over every layer: there is nothing left to compare.
        """
        *below, top = self._image.layers or ("",)
        if not below or self._packing.top_bytes() > _TRIED_BYTES:
            return False
        config, blobs = self._packing.pack([top])
        whole = loading.Archive(config, self._image.layers, blobs, name)
        if not loading.is_small(whole) or whole.image_id != self._image.id:
            return False
        try:
            sent = _Sent((whole,), len(below), on_shipped)
            loading.load(there, whole, sent.on_sent, self._is_cancelled)
        except EngineError:
            return False
        if self._cache.has_parts(there.host):
            self._forget_parts(there)
        return True

    def _load(self, there: Engine, part: loading.Archive, sent: "_Sent") -> None:
        try:
            loading.load(there, part, sent.on_sent, self._is_cancelled)
        except EngineError as error:
            if _is_spoilt(error):
                self._discard(part.blobs)
            raise
        sent.finish(part)

    def _discard(self, blobs: Mapping[str, Blob]) -> None:
        """Take blobs out of the cache that may not hold what they should."""
        for blob in blobs.values():
            self._cache.discard(blob.digest)

    def _compared(self, there: Engine, name: str) -> Identity:
        found = inspect(there, name)
        if found is None or not found.is_same(self._image):
            raise HostError(
                f"{there.host}: the image that arrived differs from {self._image.id} here; "
                "its Docker may need an update"
            )
        return found

    def _forget_parts(self, there: Engine) -> None:
        """Take the names off what is part of the image: the image keeps the layers now."""
        for part in partial(there):
            if part.layers == self._image.layers[: len(part.layers)]:
                with there.errors("could not remove a part of the image"), \
                        contextlib.suppress(ImageNotFound):  # fmt: skip
                    there.api.remove_image(part.id, force=True)
        self._cache.forget_parts(there.host)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _is_spoilt(error: EngineError) -> bool:
    """Whether what the host was sent is not what it should be, as far as its engine tells."""
    return any(word in str(error).lower() for word in _SPOILT)


class _Sent:
    """Adds up what went to one host."""

    def __init__(
        self, parts: tuple[loading.Archive, ...], first: int, on_shipped: OnShipped
    ) -> None:
        blobs = [blob for part in parts for blob in part.blobs.values()]
        self._ends_bytes = list(accumulate(blob.size_bytes for blob in blobs))
        self._before_bytes = 0
        self._first = first
        self._layers = len(parts[-1].layers)
        self._on_shipped = on_shipped

    def on_sent(self, sent_bytes: int) -> None:
        done_bytes = self._before_bytes + sent_bytes
        at = self._first + bisect_left(self._ends_bytes, done_bytes) + 1
        self._on_shipped(done_bytes, self._ends_bytes[-1], f"layer {at} of {self._layers}")

    def finish(self, part: loading.Archive) -> None:
        self._before_bytes += part.size_bytes
