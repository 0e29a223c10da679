"""An image reaches the hosts that run it: it is there, it is pulled, or it is shipped from here.

Which of these is decided here, host by host. What an image is stands in `identity`, how it is
pulled in `pulling`, and how it is shipped in `shipping`, with no registry needed and nothing
listening on a host.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from launcher.cluster import ImageTransfer
from launcher.engine import Engine
from launcher.errors import HostError
from launcher.images.cache import LayerCache, default_folder
from launcher.images.identity import REPOSITORY, Identity, check_architecture, inspect
from launcher.images.pulling import Offer, PullError, offer, pull, repository
from launcher.images.stream import IsCancelled
from launcher.transfer import OnProgress, Progress

if TYPE_CHECKING:
    from launcher.images.packing import OnPacked
    from launcher.images.shipping import Shipping


class Images:
    """One run's image, brought to its hosts; thread-safe, one object a run."""

    def __init__(
        self,
        name: str,
        here: Engine | None,
        how: ImageTransfer,
        *,
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        cache: LayerCache | None = None,
    ) -> None:
        """Know of an image; no engine is asked yet.

        here: the engine of the launching machine, None where there is none.
        cache: where compressed layers are kept; this user's cache unless given.
        """
        self._name = name
        self._here = here
        self._how = how
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._cache = cache
        self._lock = threading.Lock()
        self._looked_up = False
        self._local: Identity | None = None
        self._shipping: Shipping | None = None
        self._offer: Offer | None = None
        self._first: tuple[str, Identity] | None = None  # a host, and the image it has

    def reference(self) -> str | None:
        """Return the image's id on the launching machine, None where it has no such image.

        Raises:
            HostError: its engine does not answer.
        """
        local = self._reference()
        return local.id if local else None

    def user(self, there: Engine, image_id: str) -> str:
        """Return the user that the image's configuration names, of what `ensure` returned.

        What is here is the same as there: no host is asked where it is here. Raises HostError.
        """
        found = self._reference() or inspect(there, image_id)
        return found.user if found else ""

    def ensure(self, there: Engine) -> str:
        """Return the id of the image on a host, after bringing it there if it lacks it.

        All hosts get the same: layers and configuration are compared. Called from a thread a host.

        Raises:
            HostError: it is not there and there is no way to get it; it is for another
                architecture; there is no room; the connection broke twice; cancelled.
        """
        local = self._reference()
        if local is None:
            return self._agreed(there, self._from_registry(there)).id
        if inspect(there, local.id):
            return local.id
        if self._how is not ImageTransfer.SHIP and (pulled := self._pulled(there, local)):
            return pulled
        return self._shipped(there, local)

    def _reference(self) -> Identity | None:
        with self._lock:
            if not self._looked_up:
                self._local = inspect(self._here, self._name) if self._here else None
                self._looked_up = True
            return self._local

    def _pulled(self, there: Engine, local: Identity) -> str | None:
        """Return the id of what a host pulled if it is what is here, None if it must be shipped.

        An image that no registry has seen is not asked for, unless pulling is the only way.
        """
        is_only_way = self._how is ImageTransfer.PULL
        known = next((d for d in local.digests if repository(d) == repository(self._name)), None)
        if known is None and not is_only_way:
            return None
        try:
            found = self._pull(there, known or self._name)
        except PullError:
            if is_only_way:
                raise
            return None
        if found.is_same(local):
            return found.id
        if is_only_way:
            raise HostError(
                f"{there.host}: the registry's {self._name} is not the one here; push yours "
                "(launch push), or set image_transfer: auto"
            )
        return None

    def _from_registry(self, there: Engine) -> Identity:
        """Return what a host has of an image that is not here."""
        if self._how is ImageTransfer.SHIP:
            raise HostError(
                f"{self._name} cannot be shipped, {self._why_not_here()}; build or pull it here, "
                "or set image_transfer: pull"
            )
        try:
            return self._pull(there, self._name)
        except PullError as error:
            found = inspect(there, self._name)
            if found and self._how is ImageTransfer.AUTO:
                return found
            raise HostError(
                f"{error}; {self._why_not_here()}. Push it to a registry that the hosts reach, or "
                "have it in Docker on this machine, then it is shipped"
            ) from None

    def _why_not_here(self) -> str:
        return "it is not on this machine" if self._here else "there is no Docker on this machine"

    def _pull(self, there: Engine, name: str) -> Identity:
        offered = self._offered(there, name)
        if offered.architectures:
            check_architecture(there, *offered.architectures)
        found = inspect(there, offered.name)
        if found is None:
            with self._shown(there) as show:
                pull(there, offered.name, show, self._is_cancelled)
            found = inspect(there, offered.name)
        if found is None:
            raise PullError(f"{there.host}: {self._name} is not there after it was pulled")
        _tag(there, found, self._host_name(found))
        return found

    def _offered(self, there: Engine, name: str) -> Offer:
        """Return what the registry offers: the first host's answer is pulled by all."""
        with self._lock:
            known = self._offer
        if known is None:
            found = offer(there, name)
            with self._lock:
                known = self._offer = self._offer or found
        return known

    def _agreed(self, there: Engine, found: Identity) -> Identity:
        """Return what a host has if it is what the first host has."""
        with self._lock:
            host, first = self._first = self._first or (there.host, found)
        if not found.is_same(first):
            raise HostError(
                f"{there.host}: its {self._name} is not the one of {host}, and no registry "
                "answers; push it to a registry, or have it in Docker on this machine"
            )
        return found

    @contextlib.contextmanager
    def _shown(self, there: Engine) -> Iterator[Callable[[int, int | None, str], None]]:
        """Show how far a host's transfer has come, and in the end that it is done."""
        last = Progress(there.host, f"image {self._name}", 0, None)

        def show(done_bytes: int, total_bytes: int | None, detail: str) -> None:
            nonlocal last
            last = last._replace(done_bytes=done_bytes, total_bytes=total_bytes, detail=detail)
            self._on_progress(last)

        yield show
        self._on_progress(last._replace(is_done=True))

    def _shipped(self, there: Engine, local: Identity) -> str:
        shipping = self._shipping_of(local)
        with self._shown(there) as show:
            return shipping.ship(there, self._host_name(local), show)

    def _shipping_of(self, local: Identity) -> "Shipping":
        with self._lock:
            if self._shipping is None:
                from launcher.images.packing import Packing  # most hosts have the image
                from launcher.images.shipping import Shipping

                assert self._here is not None
                cache = self._cache or _own_cache()
                packing = Packing(self._here, local, cache, self._packed, self._is_cancelled)
                self._shipping = Shipping(local, packing, cache, self._is_cancelled)
            return self._shipping

    @contextlib.contextmanager
    def _packed(self) -> "Iterator[OnPacked]":
        """Show how far packing has come; what was shown is done when it ends, well or not."""
        last: Progress | None = None
        assert self._here is not None
        host = self._here.host

        def on_packed(done_bytes: int, total_bytes: int | None) -> None:
            nonlocal last
            last = Progress(host, f"image {self._name}", done_bytes, total_bytes, "packing")
            self._on_progress(last)

        try:
            yield on_packed
        finally:
            if last:
                self._on_progress(last._replace(is_done=True))

    def _host_name(self, image: Identity) -> str:
        """Return what the image is called on the hosts: what it was asked for by, with a tag."""
        tail = self._name.rpartition("/")[2]
        if "@" in self._name or image.id.removeprefix("sha256:").startswith(self._name):
            return f"{REPOSITORY}:{image.id.removeprefix('sha256:')[:12]}"
        return self._name if ":" in tail else f"{self._name}:latest"


def _tag(there: Engine, image: Identity, name: str) -> None:
    repo, _, tag = name.rpartition(":")
    with there.errors("could not tag the image"):
        there.api.tag(image.id, repo, tag)


def _own_cache() -> LayerCache:
    folder = default_folder(os.environ)
    try:
        return LayerCache(folder)
    except OSError as error:
        raise HostError(
            f"{folder} cannot be used for the image's layers: {error.strerror}"
        ) from None
