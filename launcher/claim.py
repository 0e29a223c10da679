"""A run's claim on what a host has, as a value: what it wants there, and which run goes first.

A claim lies on its host under labels that any launcher reads. A run asks on all its hosts before it
looks on any. It has what it wants once nobody there is before it: holds it already, or has asked
earlier. Of two runs that look at the same moment at least one sees the other, and the places in
the queue order all runs alike on every host: so just one goes on, and none waits in a circle.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

LEASE_S = 30.0  #: how long a claim counts that nobody renews, and of which no container runs

CLAIM_LABEL = "launch.claim"
_RUN = "launch.run"
_HOST = "launch.claim.host"
_OWNER = "launch.claim.owner"
_PLACE = "launch.claim.place"
_NUMBER = "launch.claim.number"
_SINCE = "launch.claim.since"
_GPUS = "launch.claim.gpus"
_PORTS = "launch.claim.ports"
_IN_WORDS = {"asking": "asked for", "waiting": "waited for", "held": "held"}
_DAY_S = 20 * 3600
_LATEST = 1e10  # that a calendar has room for


class State(StrEnum):
    """How far a run is with what it wants."""

    ASKING = "asking"  #: it looks who is before it, and goes on at once where nobody is
    WAITING = "waiting"  #: it has seen somebody before it, and will ask again
    HELD = "held"  #: it has it


class Wanted(NamedTuple):
    """What a run needs of one host: GPUs by UUID, and ports."""

    gpus: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()

    def shared(self, other: "Wanted") -> "Wanted":
        """Return what both need."""
        return Wanted(self.gpus & other.gpus, self.ports & other.ports)

    def __bool__(self) -> bool:
        return bool(self.gpus or self.ports)


class Claim(NamedTuple):
    """One run's claim on one host.

    host: as the run's cluster.yaml calls it.
    place: in the queue, the same on all hosts: microseconds, later than all that was seen.
    number: grows with each of a run's claims there, of which the last counts.
    since: when it got into its state, in seconds of its launcher's clock.
    """

    run: str
    host: str
    owner: str
    state: State
    wanted: Wanted
    place: int = 0
    number: int = 0
    since: float = 0.0

    @property
    def who(self) -> str:
        """The run in words."""
        return f"run {self.run}" + (f" of {self.owner}" if self.owner else "")

    def labels(self) -> dict[str, str]:
        """Return what says it on the host."""
        return {
            "launch.schema": "1",
            _RUN: self.run,
            CLAIM_LABEL: self.state.value,
            _HOST: self.host,
            _OWNER: self.owner,
            _PLACE: str(self.place),
            _NUMBER: str(self.number),
            _SINCE: str(self.since),
            _GPUS: ",".join(sorted(self.wanted.gpus)),
            _PORTS: ",".join(map(str, sorted(self.wanted.ports))),
        }


def parse(labels: Mapping[str, str]) -> Claim | None:
    """Return the claim that labels say, None where they are of another kind."""
    try:
        at = float(labels[_SINCE])
        return (
            None
            if not 0 <= at <= _LATEST
            else Claim(
                _shown(labels[_RUN]),
                labels[_HOST],
                _shown(labels[_OWNER]),
                State(labels[CLAIM_LABEL]),
                Wanted(
                    frozenset(filter(None, labels[_GPUS].split(","))),
                    frozenset(map(int, filter(None, labels[_PORTS].split(",")))),
                ),
                int(labels[_PLACE]),
                int(labels[_NUMBER]),
                at,
            )
        )
    except (KeyError, ValueError):
        return None


def latest(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return the last claim of each run; a host may have two names there."""
    found = {(each.run, each.host): each for each in sorted(claims, key=lambda c: c.number)}
    return tuple(found.values())


def _shown(text: str) -> str:
    """Return what another launcher wrote as it can be shown on any terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def rivals(mine: Claim, others: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return those of other runs that want something of what `mine` wants."""
    return tuple(o for o in others if o.run != mine.run and o.wanted.shared(mine.wanted))


def is_before(other: Claim, mine: Claim) -> bool:
    """Whether a rival goes first."""
    return other.state is State.HELD or (other.place, other.run) < (mine.place, mine.run)


def is_undecided(other: Claim, mine: Claim) -> bool:
    """Whether a rival that comes later may not have seen `mine`, and may take it all the same."""
    return other.state is State.ASKING and not is_before(other, mine)


def next_state(state: State, seen: Iterable[tuple[Claim, Claim]]) -> State:
    """Return the next state of a run that has looked.

    seen: each rival that it saw, on all hosts, with its own claim there.
    """
    pairs = tuple(seen)
    if any(is_before(other, mine) for other, mine in pairs):
        return State.WAITING
    if state is State.WAITING:
        return State.ASKING  # those who come later must see that it looks
    undecided = any(is_undecided(other, mine) for other, mine in pairs)
    return State.ASKING if undecided else State.HELD


# in words


def what(wanted: Wanted, names: Mapping[str, str]) -> str:
    """Return in words what is wanted; names: of GPUs, by UUID."""
    said = []
    if wanted.gpus:
        said.append(f"GPU {', '.join(sorted(names.get(uuid, uuid) for uuid in wanted.gpus))}")
    if wanted.ports:
        said.append(f"port {', '.join(map(str, sorted(wanted.ports)))}")
    return " and ".join(said)


def holding(claim: Claim, now: float) -> str:
    """Return in words who has something, or wants it, and since when."""
    return f"{_IN_WORDS[claim.state]} by {claim.who}{since(claim.since, now)}"


def since(at: float, now: float) -> str:
    """Return ` since 12:04`; nothing where that is not known."""
    if not at:
        return ""
    form = "%H:%M" if now - at < _DAY_S else "%Y-%m-%d %H:%M"
    return f" since {datetime.fromtimestamp(at).strftime(form)}"
