"""Reads what a host holds that bears our labels, and removes what was judged dead there.

Nothing is forced but what preflight left: Docker itself refuses to remove what is in use, so what
has come to life since it was judged stays.
"""

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from launcher.at_once import attempts
from launcher.creation import RUN_LABEL
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files.volume import HASH_LABEL, KIND_LABEL, DataVolume
from launcher.garbage import PREFLIGHT_LABEL, Kind, Thing, Waste
from launcher.images.identity import PARTIAL_LABEL, partial

# A run that found its data complete makes the container that uses it sooner than this.
CLAIMED_S = 3.0
_MISSING = 404
_IN_USE = (403, 409)
_USED = "it is in use now"
_ORDER = (Kind.CONTAINER, Kind.VOLUME, Kind.NETWORK, Kind.IMAGE)


class Stayed(NamedTuple):
    """What could not be removed, and why."""

    waste: Waste
    why: str


class Swept(NamedTuple):
    """What came of removing."""

    removed: tuple[Waste, ...]
    stayed: tuple[Stayed, ...]


def things(engine: Engine) -> tuple[Thing, ...]:
    """Return everything on a host that bears a label of ours. Raises HostError."""
    return tuple(
        {
            (one.kind, one.id): one
            for one in (
                *_containers(engine),
                *_volumes(engine),
                *_networks(engine),
                *_partial_images(engine),
            )
        }.values()
    )


def with_sizes(engine: Engine, waste: Iterable[Waste]) -> tuple[Waste, ...]:
    """Return the waste with the sizes of its volumes, where the engine tells them."""
    found = tuple(waste)
    if not any(each.thing.kind is Kind.VOLUME for each in found):
        return found
    sizes: dict[str, int] = {}
    with contextlib.suppress(HostError), engine.errors("does not tell how full it is"):
        for volume in engine.api.df()["Volumes"] or ():
            size = (volume.get("UsageData") or {}).get("Size", -1)
            sizes |= {volume["Name"]: size} if size >= 0 else {}
    return tuple(
        each._replace(thing=each.thing._replace(size_bytes=sizes.get(each.thing.id)))
        if each.thing.kind is Kind.VOLUME
        else each
        for each in found
    )


def sweep(engine: Engine, waste: Iterable[Waste]) -> Swept:
    """Remove what was judged dead on a host; what is gone already counts as removed."""
    todo = sorted(waste, key=lambda each: _ORDER.index(each.thing.kind))
    data = [each for each in todo if is_data_volume(each.thing)]
    removed: list[Waste] = []
    stayed: list[Stayed] = []
    for each in todo:
        if each not in data:
            why = _problem(engine, each.thing)
            if why:
                stayed.append(Stayed(each, why))
            else:
                removed.append(each)
    hashes = list(dict.fromkeys(each.thing.labels[HASH_LABEL] for each in data))
    problems = dict(zip(hashes, attempts(hashes, lambda h: _remove_data(engine, h)), strict=True))
    for each in data:
        problem = problems[each.thing.labels[HASH_LABEL]]
        if problem is None:
            removed.append(each)
        else:
            stayed.append(Stayed(each, str(problem)))
    return Swept(tuple(removed), tuple(stayed))


def _remove_data(engine: Engine, content_hash: str) -> None:
    if not DataVolume(engine, content_hash).remove(CLAIMED_S):
        raise HostError(f"{engine.host}: {_USED}")


def _problem(engine: Engine, thing: Thing) -> str:
    """Remove something; return why it cannot be, nothing where it is gone."""
    try:
        _remove(engine, thing)
    except EngineError as error:
        if error.status == _MISSING:
            return ""
        return _USED if error.status in _IN_USE else str(error)
    except HostError as error:
        return str(error)
    return ""


def _remove(engine: Engine, thing: Thing) -> None:
    api = engine.api
    with engine.errors(f"cannot remove the {thing.kind} {thing.name}"):
        match thing.kind:
            case Kind.CONTAINER:
                is_listener = PREFLIGHT_LABEL in thing.labels
                api.remove_container(thing.id, v=True, force=is_listener)
            case Kind.VOLUME:
                api.remove_volume(thing.id)
            case Kind.NETWORK:
                api.remove_network(thing.id)
            case Kind.IMAGE:
                for name in thing.tags or (thing.id,):
                    api.remove_image(name)


# what there is


def _containers(engine: Engine) -> Iterator[Thing]:
    for label in (RUN_LABEL, KIND_LABEL, PREFLIGHT_LABEL):
        with engine.errors("does not list its containers"):
            found = engine.api.containers(all=True, size=True, filters={"label": label})
        for each in found:
            name = str((each.get("Names") or [""])[0]).lstrip("/")
            yield Thing(
                engine.host, Kind.CONTAINER, each["Id"], name, float(each["Created"]),
                each.get("Labels") or {}, state=each["State"], size_bytes=each.get("SizeRw", 0),
            )  # fmt: skip


def _volumes(engine: Engine) -> Iterator[Thing]:
    api = engine.api
    with engine.errors("does not list its volumes"):
        unused = {each["Name"] for each in api.volumes({"dangling": ["true"]})["Volumes"] or ()}
        listed = [
            each
            for label in (RUN_LABEL, KIND_LABEL)
            for each in api.volumes({"label": label})["Volumes"] or ()
        ]
    for each in listed:
        name, created = each["Name"], _unix(each.get("CreatedAt"))
        used = name not in unused
        yield Thing(engine.host, Kind.VOLUME, name, name, created, each["Labels"] or {},
                    is_used=used)  # fmt: skip


def _networks(engine: Engine) -> Iterator[Thing]:
    with engine.errors("does not list its networks"):
        listed = engine.api.networks(filters={"label": RUN_LABEL})
    for each in listed:
        created = _unix(each.get("Created"))
        yield Thing(engine.host, Kind.NETWORK, each["Id"], each["Name"], created,
                    each["Labels"] or {}, size_bytes=0)  # fmt: skip


def _partial_images(engine: Engine) -> Iterator[Thing]:
    for part in partial(engine):
        with engine.errors("does not describe an image"):
            found = engine.api.inspect_image(part.id)
        yield Thing(
            engine.host, Kind.IMAGE, part.id, " ".join(part.tags) or part.id,
            _unix(found.get("Created")), {PARTIAL_LABEL: part.partial_of},
            size_bytes=int(found.get("Size") or 0), layers=len(part.layers), tags=part.tags,
        )  # fmt: skip


def _unix(text: object) -> float:
    """Return the Unix time that an engine writes; 0, long ago, where it writes none."""
    try:
        return datetime.fromisoformat(f"{str(text)[:19]}+00:00").timestamp()
    except ValueError:
        return 0.0


def is_data_volume(thing: Thing) -> bool:
    """Whether something is a volume of synced data, or the mark of one."""
    return thing.kind is Kind.VOLUME and HASH_LABEL in thing.labels
