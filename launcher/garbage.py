"""What on hosts is provably dead and ours, of all that our labels mark there.

Pure: what the hosts hold, what this machine knows of runs and the time come in as values. Dead is
a run whose results are home, which its folder here proves; and what was made for nothing. Whatever
may still be wanted, or may belong to a run that is starting, stays, and it is said why.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from launcher.creation import CHECKPOINTS_LABEL, RUN_LABEL, SCHEMA_LABEL, TASK_LABEL
from launcher.files.volume import HASH_LABEL, KIND_LABEL
from launcher.images.identity import PARTIAL_LABEL
from launcher.images.loading import PARTIAL_REPOSITORY

PREFLIGHT_LABEL = "launch.preflight"  #: of the listeners that preflight starts

SETTLED_S = 15 * 60.0  # what is younger may be a run's that is starting
_LISTENS_S = 10 * 60.0
_INTERRUPTED_S = 24 * 3600.0  # what went on for so long without an end will not go on
_DEAD = ("created", "exited", "dead")


class Kind(StrEnum):
    """What Docker calls a thing."""

    CONTAINER = "container"
    VOLUME = "volume"
    NETWORK = "network"
    IMAGE = "image"


class Thing(NamedTuple):
    """Something on a host that bears a label of ours.

    id: by which its engine knows it; a volume's name.
    created: a Unix time.
    state: a container's, in Docker's word.
    is_used: whether a container, of whomever, has this volume.
    layers: of an image, how many.
    tags: of an image, its names.
    """

    host: str
    kind: Kind
    id: str
    name: str
    created: float
    labels: Mapping[str, str]
    state: str = ""
    is_used: bool = False
    size_bytes: int | None = None
    layers: int = 0
    tags: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """The run that it was made for; empty where it was made for none, or not by a launcher."""
        if SCHEMA_LABEL not in self.labels:
            return ""
        if self.kind is Kind.CONTAINER and not {TASK_LABEL, CHECKPOINTS_LABEL} & set(self.labels):
            return ""
        return self.labels.get(RUN_LABEL, "")


class RunKnown(NamedTuple):
    """What this machine knows of a run.

    supervisor: who supervises it here; empty where nobody does.
    is_home: whether it has ended and everything of it is home.
    all_asked: whether every host of its plan was asked, and did answer.
    """

    supervisor: str = ""
    is_home: bool = False
    all_asked: bool = False


class Waste(NamedTuple):
    """A thing that is dead, and why."""

    thing: Thing
    why: str


class Kept(NamedTuple):
    """A run of which things stay, and why."""

    run: str
    hosts: tuple[str, ...]
    why: str


class Judged(NamedTuple):
    """All that was found, judged."""

    waste: tuple[Waste, ...]
    kept: tuple[Kept, ...]


def judge(
    things: Sequence[Thing],
    known: Mapping[str, RunKnown],
    now: float,
    older_s: float,
    *,
    all_answered: bool,
) -> Judged:
    """Return what is dead among everything of ours on some hosts.

    known: by the run's name.
    now: the present Unix time.
    older_s: from which age on goes what nothing proves to be dead, and nothing uses.
    all_answered: whether each of the hosts did answer.
    """
    waste: list[Waste] = []
    kept: list[Kept] = []
    of_runs = sorted((one for one in things if one.run), key=lambda one: one.run)
    for run, group in groupby(of_runs, key=lambda one: one.run):
        case = _Case(run, tuple(group), known.get(run), now, max(older_s, SETTLED_S), all_answered)
        found = tuple(case.waste())
        waste += found
        if why := case.why_kept(found):
            kept.append(Kept(run, tuple(dict.fromkeys(one.host for one in case.things)), why))
    others = [one for one in things if not one.run]
    waste += _listeners(others, now)
    waste += _unfinished(others, now, min(_INTERRUPTED_S, max(older_s, SETTLED_S)))
    waste += _data(others, now, max(older_s, SETTLED_S))
    return Judged(tuple(waste), tuple(kept))


class _Case(NamedTuple):
    """One run, with all of it that was found."""

    run: str
    things: tuple[Thing, ...]
    known: RunKnown | None
    now: float
    older_s: float
    all_answered: bool

    @property
    def containers(self) -> tuple[Thing, ...]:
        return tuple(one for one in self.things if one.kind is Kind.CONTAINER)

    def alive(self) -> str:
        """Return why the run is not dead, or nothing."""
        if self.known and self.known.supervisor:
            return f"{self.known.supervisor} supervises it"
        if any(one.state not in _DEAD for one in self.containers):
            return "it runs"
        created = [one for one in self.containers if one.state == "created"]
        if any(TASK_LABEL in one.labels and not self._is_settled(one) for one in created):
            return "it is starting"
        return ""

    def waste(self) -> Iterator[Waste]:
        """Yield what of the run is dead."""
        if self.alive():
            return
        free = (one for one in self.things if not one.is_used)
        if self.known and self.known.is_home:
            for one in self.things:  # its own containers are what uses its volumes
                yield Waste(one, "its run has ended, and everything of it is home")
        elif self.containers:
            if self.all_answered and self._never_ran():
                yield from (Waste(one, "it was never started") for one in self.containers)
        elif self.all_answered:
            yield from (Waste(one, "its run has no container") for one in free if self._old(one))

    def why_kept(self, waste: Sequence[Waste]) -> str:
        """Return why things of the run stay, or nothing where none do."""
        if len(waste) == len(self.things):
            return ""
        if alive := self.alive():
            return alive
        if not self.all_answered:
            return "not every host has answered"
        if waste and self.containers:
            return "what its containers leave goes the next time"
        if self.containers:
            return f"it has ended and is not collected: launch collect {self.run}"
        return "nothing proves that it is dead; it goes when it is older (--older)"

    def _never_ran(self) -> bool:
        return all(one.state == "created" for one in self.containers)

    def _is_settled(self, one: Thing) -> bool:
        return self.now - one.created > SETTLED_S

    def _old(self, one: Thing) -> bool:
        """Whether a thing of a run without containers may go; a volume may hold results."""
        was_here = self.known is not None and self.known.all_asked
        if one.kind is Kind.NETWORK and was_here:
            return self._is_settled(one)
        return self.now - one.created > self.older_s


def _listeners(things: Iterable[Thing], now: float) -> Iterator[Waste]:
    for one in things:
        is_listener = one.kind is Kind.CONTAINER and PREFLIGHT_LABEL in one.labels
        if is_listener and now - one.created > _LISTENS_S:
            yield Waste(one, "a check of the hosts left it")


def _unfinished(things: Sequence[Thing], now: float, after_s: float) -> Iterator[Waste]:
    """Yield what interrupted transfers left; one that goes on has a young part."""
    for one in things:
        is_fill = one.kind is Kind.CONTAINER and _is_data(one) and one.state == "created"
        if is_fill and now - one.created > after_s:
            yield Waste(one, "its data was not sent to the end")
    parts = [one for one in things if one.kind is Kind.IMAGE and _is_part(one)]
    parts.sort(key=lambda one: (*_image(one), one.layers))
    for _, group in groupby(parts, key=_image):
        stacks = tuple(group)
        if now - max(one.created for one in stacks) > after_s:
            below = (0, *(one.size_bytes or 0 for one in stacks))  # each holds those below it
            for one, below_bytes in zip(stacks, below, strict=False):
                own_bytes = max(0, (one.size_bytes or 0) - below_bytes)
                thing = one._replace(size_bytes=own_bytes)
                yield Waste(thing, "an image was not sent to the end")


def _image(part: Thing) -> tuple[str, str]:
    """Return the host and the image of which something is a part."""
    return part.host, part.labels[PARTIAL_LABEL]


def _is_part(one: Thing) -> bool:
    """Whether an image has no name but ours: a name that somebody gave keeps it."""
    return PARTIAL_LABEL in one.labels and all(
        tag.startswith(f"{PARTIAL_REPOSITORY}:") for tag in one.tags
    )


def _data(things: Iterable[Thing], now: float, older_s: float) -> Iterator[Waste]:
    """Yield volumes of synced data, whole contents: a volume and the mark of its being complete."""
    volumes = [one for one in things if one.kind is Kind.VOLUME and _is_data(one)]
    volumes.sort(key=lambda one: (one.host, one.labels.get(HASH_LABEL, ""), one.name))
    for _, group in groupby(volumes, key=lambda one: (one.host, one.labels.get(HASH_LABEL, ""))):
        content = tuple(group)
        is_used = any(one.is_used for one in content)
        if not is_used and now - max(one.created for one in content) > older_s:
            yield from (Waste(one, "synced data that nothing uses") for one in content)


def _is_data(one: Thing) -> bool:
    return one.labels.get(KIND_LABEL) == "data" and HASH_LABEL in one.labels
