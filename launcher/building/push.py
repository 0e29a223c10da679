"""An image's tags pushed to the registry in its name, with the user's own `docker login`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from launcher.building import events, repository
from launcher.building.events import Message, OnEvent
from launcher.building.inspection import inspected
from launcher.building.registry import logins, remedy
from launcher.building.repository import LATEST, ImageName
from launcher.engine import Engine
from launcher.errors import HostError, InputError, Problem


class Pushed(NamedTuple):
    """A tag that the registry has now, and the digest it knows the image by."""

    name: ImageName
    digest: str


def tags(engine: Engine, asked: ImageName) -> tuple[ImageName, ...]:
    """Return the names to push: the one that was asked for, else those that a build gave.

    Those of a build are its tag for good and, last, `latest`: who pulls `latest` finds the other.

    Raises:
        InputError: there is no such image here, or its name is for nobody to push.
        HostError: Docker cannot say.
    """
    if asked.is_on_docker_hub_itself:
        what = f"names no registry; build with -t REGISTRY/{asked.repository} and push that"
        raise InputError(Problem(str(asked), what))
    tag = asked.tag or LATEST
    facts = inspected(engine, f"{asked.repository}:{tag}")
    if facts is None:
        build = f"`launch build -t {asked.repository}` makes one"
        raise InputError(Problem(f"{asked.repository}:{tag}", f"no such image here; {build}"))
    if asked.tag:
        return (asked,)
    named = [repository.parse(name) for name in facts["RepoTags"] or ()]
    stamps = [n.tag for n in named if n.repository == asked.repository and n.tag]
    newest = sorted(filter(repository.is_stamp, stamps))[-1:]
    return tuple(ImageName(asked.repository, tag) for tag in (*newest, LATEST))


def push(engine: Engine, name: ImageName, on_event: OnEvent) -> Pushed:
    """Return what the registry made of one tag.

    Raises:
        HostError: the registry cannot be reached or does not take it; says what to do about it.
    """
    digest = ""
    with engine.errors(f"cannot push {name}"), logins(), _without_limit(engine):
        for message in events.heard(engine.host, _messages(engine, name)):
            if reason := events.problem(message):
                raise HostError(f"{name} was not pushed: {reason}{remedy(name.registry, reason)}")
            if layer := events.layer(message):
                on_event(layer)
            digest = (message.get("aux") or {}).get("Digest") or digest
    if not digest:
        raise HostError(f"{name} was not pushed: the registry gave no digest")
    return Pushed(name, digest)


def _messages(engine: Engine, name: ImageName) -> Iterator[Message]:
    found: Iterator[Any] = engine.api.push(name.repository, tag=name.tag, stream=True, decode=True)
    return found


@contextmanager
def _without_limit(engine: Engine) -> Iterator[None]:
    """Let the engine say nothing for long: a registry may take minutes to put a layer away."""
    before = engine.api.timeout
    engine.api.timeout = None  # type: ignore[assignment]  # requests takes it
    try:
        yield
    finally:
        engine.api.timeout = before
