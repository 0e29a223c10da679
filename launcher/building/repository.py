"""Names of images: what is one, which registry it names, and the tags that a build gives."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from docker.auth import resolve_repository_name
from docker.utils import match_tag, parse_repository_tag

LATEST = "latest"
STAMP_FORMAT = "%Y%m%d_%H%M%S"
_STAMP = re.compile(r"\d{8}_\d{6}")
_RULE = "a name as in registry.lab/mnist: a-z, 0-9, and '.', '_', '-' between them"


class ImageName(NamedTuple):
    """An image's name in parts: `registry.lab:5000/mnist` and a tag, or None."""

    repository: str
    tag: str | None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    @property
    def registry(self) -> str:
        """The registry that the name means, as `docker login` takes it."""
        return registry_of(self.repository)

    @property
    def is_on_docker_hub_itself(self) -> bool:
        """Whether the name means one of Docker Hub's own images, which nobody else can push."""
        return "/" not in self.repository


def registry_of(repository: str) -> str:
    """Return the registry that the name of an image means, as `docker login` takes it."""
    return str(resolve_repository_name(repository)[0])


def parse(text: str) -> ImageName:
    """Return the parts of NAME[:TAG]. Raises ValueError that says what was expected."""
    if "@" in text:
        raise ValueError(f"expected NAME or NAME:TAG, got the digest in {text!r}")
    if not match_tag(text):
        lower = text.lower()
        hint = f", did you mean {lower!r}?" if lower != text and match_tag(lower) else ""
        raise ValueError(f"expected {_RULE}; got {text!r}{hint}")
    return ImageName(*parse_repository_tag(text))


def name_for(dockerfile: Path, context: Path) -> str:
    """Return the name of an image that is given none.

    `mnist.Dockerfile` makes `mnist`; any other file makes an image named as its context's folder.
    """
    stem = dockerfile.name.removesuffix(".Dockerfile")
    wanted = stem if stem != dockerfile.name else context.resolve().name
    return re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-") or "image"


def stamp(now: datetime, taken: Iterable[str]) -> datetime:
    """Return the moment whose tag a build gets: `now`, or the next second that has no tag yet."""
    moment, used = now.astimezone(UTC).replace(microsecond=0), set(taken)
    while moment.strftime(STAMP_FORMAT) in used:
        moment += timedelta(seconds=1)
    return moment


def is_stamp(tag: str) -> bool:
    """Whether a tag is one that a build gives for good."""
    return bool(_STAMP.fullmatch(tag))
