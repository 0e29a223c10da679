"""One image built on one engine: its base fetched, its steps done, its two tags given."""

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from docker.errors import APIError

from launcher.building import context, events, repository
from launcher.building.dockerfile import Base
from launcher.building.events import Event, Line, Message, OnEvent, Step
from launcher.building.inspection import digest, inspected
from launcher.building.labels import labels, source
from launcher.building.registry import logins, remedy
from launcher.building.repository import registry_of
from launcher.building.request import Request
from launcher.engine import Engine
from launcher.errors import HostError, InputError, LaunchError, Problem

_NOT_TO_BE_HAD = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
)


class Built(NamedTuple):
    """An image that was built.

    tags: its whole names: the one for good, and the latest.
    """

    id: str
    tags: tuple[str, ...]
    size_bytes: int
    labels: dict[str, str]


class BuildFailed(LaunchError):
    """A step did not succeed. Nothing was tagged.

    step: the one that failed, None where none had begun.
    output: all that it printed.
    """

    def __init__(self, step: Step | None, output: tuple[str, ...], reason: str) -> None:
        self.step = step
        self.output = output
        self.reason = reason
        super().__init__(f"{step} failed: {reason}" if step else f"the build failed: {reason}")


def build(engine: Engine, request: Request, now: datetime, on_event: OnEvent) -> Built:
    """Return the image that `request` asks for, tagged `NAME:YYYYMMDD_HHMMSS` and `NAME:latest`.

    Both tags are given after the last step: a build that fails or is interrupted tags nothing.

    Raises:
        InputError: a base image that no registry has; a Dockerfile or context that cannot be used.
        BuildFailed: a step did not succeed.
        HostError: Docker could not do it.
    """
    for base in request.bases:
        _fetch(engine, request, base, on_event)
    moment = repository.stamp(now, _tags(engine, request.name))
    wanted = _labels(engine, request, moment)
    packed = context.pack(request.context, request.file, request.code)
    with packed.archive, engine.errors("cannot build"), logins():
        image = _built(engine, request, packed, wanted, on_event)
    version = moment.strftime(repository.STAMP_FORMAT)
    with engine.errors(f"cannot tag {request.name}"):
        for tag in (version, repository.LATEST):
            engine.api.tag(image, request.name, tag)
    facts = inspected(engine, image)
    if facts is None:
        raise HostError(f"{engine.host}: Docker has lost the image it built; build it again")
    tags = (f"{request.name}:{version}", f"{request.name}:{repository.LATEST}")
    return Built(facts["Id"], tags, facts["Size"], dict(facts["Config"]["Labels"] or {}))


def _tags(engine: Engine, name: str) -> list[str]:
    """Return the tags that images of this name have here."""
    with engine.errors("cannot list images"):
        images = engine.api.images(name)
    return [tag.rpartition(":")[2] for image in images for tag in image["RepoTags"] or ()]


def _labels(engine: Engine, request: Request, moment: datetime) -> dict[str, str]:
    title = request.name.rpartition("/")[2]
    at = source(request.context)
    if not request.bases:  # FROM scratch
        return labels(title, moment, None, None, request.build_args, at)
    base = request.bases[-1].image
    facts = inspected(engine, base)
    known = digest(facts, base) if facts else None
    return labels(title, moment, base, known, request.build_args, at)


def _fetch(engine: Engine, request: Request, base: Base, on_event: OnEvent) -> None:
    """Have the engine get a base image that it lacks, or in any case where that was asked for."""
    if not request.pull and inspected(engine, base.image):
        return
    on_event(Line(f"pulling {base.image}"))
    where = f"{request.file}:{base.line} FROM {base.image}"
    with engine.errors(f"cannot pull {base.image}"), logins():
        try:
            for message in events.heard(engine.host, _pull(engine, base)):
                if reason := events.problem(message):
                    raise HostError(f"{where}: {_why(request, base, reason)}")
                if layer := events.layer(message):
                    on_event(layer)
        except APIError as error:
            what = f"{where}: {_why(request, base, str(error.explanation).strip())}"
            kind = InputError if error.status_code in _NOT_TO_BE_HAD else HostError
            raise kind(what) from None


def _why(request: Request, base: Base, reason: str) -> str:
    name = base.image.partition("@")[0]
    hint = " (without --pull one that is here is taken)" if request.pull else ""
    return f"it cannot be pulled: {reason}{remedy(registry_of(name), reason)}{hint}"


def _pull(engine: Engine, base: Base) -> Iterable[Any]:
    found: Iterable[Any] = engine.api.pull(
        base.image, stream=True, decode=True, platform=base.platform or None
    )
    return found


def _built(
    engine: Engine,
    request: Request,
    packed: context.Context,
    wanted: dict[str, str],
    on_event: OnEvent,
) -> str:
    """Return the id of the image that the engine has built."""
    try:
        messages: Iterable[Any] = engine.api.build(
            fileobj=packed.archive,
            custom_context=True,
            dockerfile=packed.dockerfile,
            buildargs=dict(request.build_args),
            labels=wanted,
            nocache=request.no_cache,
            network_mode=request.network,
            rm=True,
            forcerm=True,  # also what an interrupted build was in
            decode=True,
        )
        return _steps(events.heard(engine.host, messages), on_event)
    except APIError as error:
        if error.status_code != HTTPStatus.BAD_REQUEST:
            raise
        reason = _with_remedy(str(error.explanation), is_for_buildkit=request.has_here_documents)
        raise InputError(Problem(str(request.file), reason)) from None


def _steps(messages: Iterable[Message], on_event: OnEvent) -> str:
    """Return the id of the image that the messages of a build end with."""
    image = ""
    progress = _Progress(on_event)
    for message in messages:
        if reason := events.problem(message):
            raise progress.failed(_with_remedy(reason))
        image = (message.get("aux") or {}).get("ID") or image
        progress.take(message)
    if not image:
        raise progress.failed("Docker ended the build without an image")
    return str(image)


class _Progress:
    """Passes events on, and remembers what the current step printed."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._lines = events.Lines()
        self._step: Step | None = None
        self._output: list[str] = []

    def take(self, message: Message) -> None:
        if layer := events.layer(message):  # of an image that a COPY --from names
            self._on_event(layer)
        for event in self._lines.feed(message.get("stream") or ""):
            self._pass_on(event)

    def failed(self, reason: str) -> BuildFailed:
        for event in self._lines.end():
            self._pass_on(event)
        return BuildFailed(self._step, tuple(self._output), reason)

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Step):
            self._step, self._output = event, []
        elif isinstance(event, Line):
            self._output.append(event.text)
        self._on_event(event)


def _with_remedy(reason: str, *, is_for_buildkit: bool = False) -> str:
    if is_for_buildkit or "buildkit" in reason.lower():
        return f"{reason} (such a Dockerfile is for `docker buildx build`; launch runs its image)"
    return reason
