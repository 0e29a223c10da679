"""Takes an image's layers out of the engine on this machine, compressed, into the layer cache.

The engine pushes into a registry of ours that lives as long as the push. It offers each layer by
the digest under which it has pushed or pulled it before, and skips what the registry has: so the
registry claims to have all that no host lacks, and one changed layer is all that is compressed.
An engine that cannot reach our loopback (rootless, or in a virtual machine) saves the image
instead, which always takes the whole image.
"""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from docker.auth import encode_header

from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.images.cache import Blob, LayerCache
from launcher.images.identity import REPOSITORY, Identity, has_content_store, inspect
from launcher.images.registry import Registry
from launcher.images.saving import save
from launcher.images.stream import CancelledTransfer, IsCancelled, events, until_cancelled

OnPacked = Callable[[int, int | None], None]  #: (bytes done, bytes in all if known)
#: entered while layers are taken out, however that ends
Packed = Callable[[], AbstractContextManager[OnPacked]]

_TURN_S = 0.1
_OURS = re.compile(rf"127\.0\.0\.1:(\d+)/{REPOSITORY}[:@]")


class Packing:
    """One image of the engine here, made ready to be sent; thread-safe."""

    def __init__(
        self,
        here: Engine,
        image: Identity,
        cache: LayerCache,
        packed: Packed,
        is_cancelled: IsCancelled,
    ) -> None:
        self._here = here
        self._image = image
        self._cache = cache
        self._packed = packed
        self._is_cancelled = is_cancelled
        self._lock = threading.Lock()

    def pack(self, layers: Sequence[str]) -> tuple[bytes, dict[str, Blob]]:
        """Return the image's configuration, and the blobs of those of its layers.

        Whoever comes while another thread packs waits, and mostly finds all done then.

        Raises:
            HostError: the engine here did not hand them out, or there is no room for them.
        """
        with self._turn():
            if self._missing(layers) or self._config() is None:
                self._stores_content = has_content_store(self._here)
                with self._packed() as on_packed:
                    self._fetch(layers, on_packed)
            blobs = {layer: blob for layer in layers if (blob := self._cache.layer(layer))}
            config = self._config()
            if config is None or len(blobs) < len(set(layers)):
                raise HostError(
                    f"{self._here.host}: Docker did not hand out all layers of the image "
                    f"{self._image.id}; try `docker save` of it there to see why"
                )
            return config, blobs

    def top_bytes(self) -> int:
        """Return about how much the uppermost layer holds, not compressed. Raises HostError."""
        with self._here.errors("could not tell the image's history"):
            steps = self._here.api.history(self._image.id)
        return next((step["Size"] for step in steps if step["Size"]), 0)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        while not self._lock.acquire(timeout=_TURN_S):
            if self._is_cancelled():
                raise CancelledTransfer(self._here.host)
        try:
            yield
        finally:
            self._lock.release()

    def _missing(self, layers: Sequence[str]) -> set[str]:
        return {layer for layer in layers if self._cache.layer(layer) is None}

    def _config(self) -> bytes | None:
        return self._cache.config(self._image.id)

    def _fetch(self, layers: Sequence[str], on_packed: OnPacked) -> None:
        """Bring what is missing into the cache."""
        # At first the engine's word is taken for any digest not met before, and the manifest then
        # tells which layer it was. What was wanted after all is asked for once more.
        is_whole = set(self._image.layers) <= self._missing(layers)
        for trusting in (False,) if is_whole or self._stores_content else (True, False):
            reached = self._push(self._missing(layers), trusting, on_packed)
            if not reached:
                save(self._here, self._image, self._missing(layers), self._cache,
                     on_packed, self._is_cancelled)  # fmt: skip
            if not self._missing(layers) and self._config() is not None:
                break
        spared = [blob.digest for layer in layers if (blob := self._cache.layer(layer))]
        self._cache.evict(keep=spared)

    def _push(self, missing: set[str], trusting: bool, on_packed: OnPacked) -> bool:
        """Let the engine push; return whether it could reach us at all."""

        def size_if_had(digest: str) -> int | None:
            if blob := self._cache.blob(digest):
                return blob.size_bytes
            layer = self._cache.layer_of(digest)
            if layer is None:
                return 1 if trusting and digest != self._image.id else None
            return None if layer in missing else 1

        with Registry(self._cache, size_if_had) as registry:
            try:
                with self._tagged(registry.name) as tag:
                    self._watch_push(registry, tag, on_packed)
            except EngineError:
                if registry.problem:
                    raise HostError(
                        f"{self._here.host}: the layer cache {self._cache.folder} cannot be "
                        f"written: {registry.problem}"
                    ) from None
                if registry.was_reached:
                    raise
                return False
            for manifest in registry.manifests:
                self._learn(json.loads(manifest))
        return True

    def _watch_push(self, registry: Registry, tag: str, on_packed: OnPacked) -> None:
        path = f"/images/{registry.name}/push"
        login = {"X-Registry-Auth": _header(registry)}
        doing = "could not hand out the image"
        done: dict[str, tuple[int, int]] = {}
        with events(self._here, path, doing, params={"tag": tag}, headers=login) as said:
            for event in until_cancelled(said, self._here.host, self._is_cancelled):
                detail = event.get("progressDetail") or {}
                if event.get("status") == "Pushing" and "current" in detail:
                    current = detail["current"]
                    done[event["id"]] = current, max(current, detail.get("total", 0))
                    on_packed(*map(sum, zip(*done.values(), strict=True)))

    @contextlib.contextmanager
    def _tagged(self, repository: str) -> Iterator[str]:
        """Name the image for the registry as long as this is entered."""
        self._sweep()
        tag = self._image.id.removeprefix("sha256:")[:12]
        api = self._here.api
        with self._here.errors("could not tag the image"):
            api.tag(self._image.id, repository, tag)
        try:
            yield tag
        finally:
            with contextlib.suppress(EngineError):
                self._untag(f"{repository}:{tag}")

    def _untag(self, name: str) -> None:
        """Remove a name of ours, but never an image that has no other name."""
        image = inspect(self._here, name)
        if image is None:
            return
        with self._here.errors("could not untag the image"):
            names = (*image.tags, *image.digests)
            if all(_OURS.match(other) for other in names):
                hex_digits = image.id.removeprefix("sha256:")
                self._here.api.tag(image.id, REPOSITORY, hex_digits[:12])
            self._here.api.remove_image(name, noprune=True)

    def _sweep(self) -> None:
        """Remove names that launchers left which were killed: nobody listens at their ports."""
        with self._here.errors("could not list its images"):
            found = self._here.api.images(filters={"reference": f"127.0.0.1:*/{REPOSITORY}"})
        for name in (name for image in found for name in image.get("RepoTags") or ()):
            ours = _OURS.match(name)
            if ours and not _listens(int(ours[1])):
                with contextlib.suppress(EngineError):
                    self._untag(name)

    def _learn(self, manifest: dict[str, Any]) -> None:
        """Note what a manifest tells, if it is the image's and not an index's."""
        if "layers" not in manifest or "config" not in manifest:
            return
        blob = self._cache.blob(manifest["config"]["digest"])
        if blob is None:
            return
        config = json.loads(blob.path.read_bytes())
        if tuple(config.get("rootfs", {}).get("diff_ids", ())) == self._image.layers:
            self._cache.learn_config(self._image.id, blob.digest)
            digests = (layer["digest"] for layer in manifest["layers"])
            self._cache.learn(dict(zip(self._image.layers, digests, strict=True)))


def _header(registry: Registry) -> str:
    return str(encode_header(registry.login), "ascii")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
