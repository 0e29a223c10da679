"""Which host dials which port, decided without asking anyone, and what came of it in words.

Up to `MOST_DIALS` everything is dialled: every planned port of every host, from every other host.
Beyond that a host dials neighbours at distances 1, 2, 4, 8 … in a ring of all hosts, which together
dial every port of a host, and the hosts that everybody talks to: the chief's and those of ps tasks.
So the dials grow as n·log n.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from launcher.plan import Plan
from launcher.task import TaskType

MOST_DIALS = 1024
_MOST_PS_HOSTS = 16  # that every host dials; more are spread over the hosts
_SHOWN = 4  # sources named in one line


class Dial(NamedTuple):
    """A port of one host, to be dialled by another: both by their names."""

    source: str
    target: str
    address: str
    port: int


class Outcome(Enum):
    """What came of a dial."""

    REACHED = "reached"
    REFUSED = "refused"
    SILENT = "no answer"
    NO_ROUTE = "no route"
    OTHER = "answered by somebody else"
    NOT_TRIED = "not tried"


class Dialled(NamedTuple):
    """A dial with its outcome; `why` is the host's own word, where it gave one."""

    dial: Dial
    outcome: Outcome
    why: str = ""


def ports(plan: Plan) -> Mapping[str, tuple[int, ...]]:
    """Return the planned TensorFlow ports of each host, the chief's first."""
    found: dict[str, tuple[int, ...]] = {}
    for container in plan.tasks:
        found[container.host] = (*found.get(container.host, ()), container.address.port)
    return found


def dials(plan: Plan) -> tuple[Dial, ...]:
    """Return what is to be dialled for a plan; nothing where it stays on one host."""
    planned = ports(plan)
    names = list(planned)
    if sum(map(len, planned.values())) * (len(names) - 1) <= MOST_DIALS:
        chosen: Iterable[tuple[str, str, int]] = _all(names, planned)
    else:
        chosen = dict.fromkeys((*_ring(names, planned), *_to_servers(plan, names, planned)))
    address = {container.host: container.address.host for container in plan.tasks}
    return tuple(Dial(source, to, address[to], port) for source, to, port in chosen)


def _all(
    names: Sequence[str], planned: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, str, int]]:
    for source in names:
        for target in names:
            if source != target:
                yield from ((source, target, port) for port in planned[target])


def _ring(
    names: Sequence[str], planned: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, str, int]]:
    """Yield dials between neighbours at distances of powers of two; each port is dialled once."""
    strides = [1 << power for power in range((len(names) - 1).bit_length())]
    for position, target in enumerate(names):
        here = planned[target]
        for index in range(max(len(strides), len(here))):
            source = names[(position - strides[index % len(strides)]) % len(names)]
            yield source, target, here[index % len(here)]


def _to_servers(
    plan: Plan, names: Sequence[str], planned: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, str, int]]:
    """Yield dials to the first task (the chief, where there is one) and to ps tasks' hosts."""
    first = plan.tasks[0]
    servers = [c.host for c in plan.tasks if c.task.type is TaskType.PS]
    servers = list(dict.fromkeys(servers))
    for position, source in enumerate(names):
        if source != first.host:
            yield source, first.host, first.address.port
        for offset in range(min(len(servers), _MOST_PS_HOSTS)):
            target = servers[(position + offset) % len(servers)]
            if target != source:
                yield source, target, planned[target][position % len(planned[target])]


def failures(dialled: Iterable[Dialled]) -> Mapping[str, tuple[Dialled, ...]]:
    """Return by target the dials that have failed."""
    found: dict[str, tuple[Dialled, ...]] = {}
    for each in dialled:
        if each.outcome not in (Outcome.REACHED, Outcome.NOT_TRIED):
            found[each.dial.target] = (*found.get(each.dial.target, ()), each)
    return found


def told(failed: Iterable[Dialled], remedy: str, timeout_s: float) -> Iterator[str]:
    """Yield the failed dials to one host, the sources of the same failure in one line.

    remedy: another address of that host, at which all sources reach it; nothing without one.
    """
    alike: dict[tuple[str, int, Outcome, str], list[Dial]] = {}
    for dial, outcome, why in failed:
        alike.setdefault((dial.target, dial.port, outcome, why), []).append(dial)
    for (target, port, outcome, why), same in alike.items():
        sources = [dial.source for dial in same]
        named = ", ".join(sources[:_SHOWN])
        more = f" and {len(sources) - _SHOWN} more" if len(sources) > _SHOWN else ""
        what = _what(outcome, why, timeout_s)
        hint = _hint(target, same[0].address, outcome)
        if remedy:
            hint = f"{target} is reached at {remedy}: write `address: {remedy}` in hosts.{target}"
        yield f"{named}{more} → {target}:{port} {what}; {hint}"


def _what(outcome: Outcome, why: str, timeout_s: float) -> str:
    match outcome:
        case Outcome.REFUSED:
            return "refused"
        case Outcome.SILENT:
            return f"no answer within {timeout_s:g} s"
        case Outcome.OTHER:
            return "is answered by another machine"
        case _:
            return why.lower() or outcome.value


def _hint(target: str, address: str, outcome: Outcome) -> str:
    if outcome is Outcome.OTHER:
        return f"is {address} the address of {target}?"
    if outcome is Outcome.NO_ROUTE:
        return f"{target} listens, is {address} an address that the others reach?"
    return f"{target} listens, a firewall?"
