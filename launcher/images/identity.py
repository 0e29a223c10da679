"""What an image is, apart from its names: its layers and its configuration.

Engines do not count image ids alike (one hashes the configuration, one the manifest), so images
on two of them are compared by what they hold. Nothing here knows how an image moves.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from docker.errors import ImageNotFound

from launcher.engine import Engine
from launcher.errors import HostError

REPOSITORY = "launch"  #: what an image without a name of its own is called
PARTIAL_LABEL = "launch.partial"  #: on what an interrupted shipment left: the id of its image


class Identity(NamedTuple):
    """An image as one engine knows it.

    id: what that engine calls it.
    layers: digests of the uncompressed layers, the lowest first (OCI: diff ids).
    config: entry point, environment, labels …, as JSON with sorted keys.
    digests: names by which registries know it, `NAME@sha256:…`.
    partial_of: the id of the image of which it is a part, left by an interrupted shipment.
    """

    id: str
    layers: tuple[str, ...]
    config: str
    architecture: str
    os: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    partial_of: str = ""

    @property
    def user(self) -> str:
        """The user that its configuration names; empty for none."""
        return str(json.loads(self.config).get("User") or "")

    def is_same(self, other: "Identity") -> bool:
        """Whether both hold the same, layers and configuration."""
        return self.id == other.id or self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        return self.layers, self.config, self.architecture, self.os


def inspect(engine: Engine, name: str) -> Identity | None:
    """Return what `name` (or an id) means on an engine, None where it means nothing.

    Raises:
        HostError: the engine does not answer.
    """
    with engine.errors(f"could not look up the image {name}"):
        try:
            return _identity(engine.api.inspect_image(name))
        except ImageNotFound:
            return None


def partial(engine: Engine) -> tuple[Identity, ...]:
    """Return what interrupted shipments left on an engine. Raises HostError."""
    with engine.errors("could not list its images"):
        found = engine.api.images(filters={"label": PARTIAL_LABEL})
    return tuple(_inspect_each(engine, (image["Id"] for image in found)))


def longest_prefix(engine: Engine, layers: Sequence[str], name: str) -> int:
    """Return how many of `layers`, from the lowest, an engine has upon each other.

    A layer elsewhere in a stack is of no use: what an engine stores is a layer upon its parents.

    name: where an image of which most layers are the same is likely to be found.

    Raises:
        HostError: the engine does not answer.
    """
    with engine.errors("could not list its images"):
        found = engine.api.images()
    like = f"{name.rpartition(':')[0]}:"
    found.sort(key=lambda image: not any(t.startswith(like) for t in image["RepoTags"] or ()))
    most = 0
    for one in _inspect_each(engine, (image["Id"] for image in found)):
        most = max(most, _common(one.layers, layers))
        if most >= len(layers) - 1:
            break
    return most


def _inspect_each(engine: Engine, ids: Iterable[str]) -> Iterator[Identity]:
    return (one for image in dict.fromkeys(ids) if (one := inspect(engine, image)))


def _common(some: Sequence[str], others: Sequence[str]) -> int:
    pairs = zip(some, others, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(some), len(others)))


def chain_id(layers: Sequence[str]) -> str:
    """Return the one name of a stack of layers (OCI image specification, ChainID)."""
    chain = layers[0]
    for layer in layers[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {layer}".encode()).hexdigest()
    return chain


def _identity(found: Mapping[str, Any]) -> Identity:
    config = {key: value for key, value in (found.get("Config") or {}).items() if value}
    # Engines fill these in for containers; an image has none of them.
    for key in ("Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr"):
        config.pop(key, None)
    return Identity(
        id=found["Id"],
        layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
        config=json.dumps(config, sort_keys=True),
        architecture=found.get("Architecture", ""),
        os=found.get("Os", ""),
        tags=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        partial_of=(config.get("Labels") or {}).get(PARTIAL_LABEL, ""),
    )


def has_content_store(engine: Engine) -> bool:
    """Whether an engine keeps images in containerd, which loads only whole archives.

    Raises HostError.
    """
    with engine.errors("could not tell how it stores images"):
        status = engine.api.info().get("DriverStatus") or ()
    return any("containerd.snapshotter" in str(value) for _, value in status)


def check_architecture(there: Engine, *architectures: str) -> None:
    """Refuse an image that was made for other processors; asks nothing. Raises HostError."""
    own = there.architecture
    if own and own not in architectures:
        raise HostError(
            f"{there.host}: it is {own}, and the image is for {' and '.join(architectures)}; "
            f"build it for {own} (docker build --platform linux/{own})"
        )
