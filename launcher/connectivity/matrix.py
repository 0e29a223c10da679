"""The matrix of who is to reach whom, tried and judged.

Something listens on every planned port, as the tasks will, and is dialled from the other hosts
through this machine's connection to each. What cannot be tried is said, never taken for a pass.
"""

import ipaddress
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher import questions
from launcher.at_once import attempts
from launcher.connectivity import pairs
from launcher.connectivity.dialing import DIAL_S, dialled
from launcher.connectivity.listening import (
    HOST_PYTHON,
    Listening,
    Wanted,
    all_listening,
    token,
)
from launcher.connectivity.pairs import Dial, Dialled, Outcome
from launcher.hosts import Machine
from launcher.plan import Plan
from launcher.ssh import Connection

_REMEDY_S = 1.0
_MOST_ADDRESSES = 8


class Matrix(NamedTuple):
    """What came of a check.

    dials, reached: how many were to be made, and how many got through.
    problems: pairs that cannot talk, ports on which nobody can listen.
    notes: what could not be tried, and why.
    heard: by host, what listened there.
    """

    dials: int
    reached: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    heard: Mapping[str, Listening]

    @property
    def has_passed(self) -> bool:
        """Whether every dial was made and got through."""
        return self.reached == self.dials and not self.problems


def matrix_of(
    plan: Plan,
    python: str,
    machines: Mapping[str, Machine],
    connection: Callable[[str], Connection],
    taken: Mapping[str, Container[int]] | None = None,
) -> Matrix:
    """Return whether the hosts of a plan reach each other.

    python: the image's.
    connection: the connection to a host. Hosts that are not in `machines` are left out.
    taken: by host, ports that are known to be somebody's; nothing listens or is dialled there.
    """
    free = {n: each for n, each in _free_ports(plan, taken or {}).items() if n in machines}
    dials = pairs.dials(plan)
    connections = {name: connection(name) for name in free}
    image = plan.tasks[0].image or ""
    wanted = {name: Wanted(ports, token(), image, python) for name, ports in free.items() if ports}
    tokens = {name: each.token for name, each in wanted.items()}
    with all_listening(machines, connections, wanted) as heard:
        open_ = [d for d in dials if d.source in free and _listens(heard, d)]
        found = dialled(connections, open_, tokens)
        failed = pairs.failures(found)
        again = [d for d in open_ if d.target in failed]
        remedies = _remedies({n: machines[n] for n in failed}, connections, again, tokens)
    problems = [
        line
        for target, some in failed.items()
        for line in pairs.told(some, remedies.get(target, ""), DIAL_S)
    ]
    return Matrix(
        len(dials),
        sum(each.outcome is Outcome.REACHED for each in found),
        (*_unheard(heard), *problems),
        (*_untried(heard), *_undialled(found)),
        heard,
    )


def _free_ports(plan: Plan, taken: Mapping[str, Container[int]]) -> dict[str, list[int]]:
    return {
        name: [port for port in ports if port not in taken.get(name, ())]
        for name, ports in pairs.ports(plan).items()
    }


def _listens(heard: Mapping[str, Listening], dial: Dial) -> bool:
    there = heard.get(dial.target)
    return there is not None and dial.port in there.ports


def _remedies(
    failed: Mapping[str, Machine],
    connections: Mapping[str, Connection],
    dials: Iterable[Dial],
    tokens: Mapping[str, str],
) -> Mapping[str, str]:
    """Return by host another address at which all that dialled it reach it, where there is one."""
    said = attempts(failed.values(), lambda machine: machine.shell(questions.ADDRESSES))
    known = {n: addresses(s) for n, s in zip(failed, said, strict=True) if isinstance(s, str)}
    tries: dict[tuple[str, str], list[Dial]] = {}
    for dial in dials:
        for address in _others(dial.address, known.get(dial.target, ())):
            again = dial._replace(address=address)
            tries.setdefault((dial.target, address), []).append(again)
    every = [dial for some in tries.values() for dial in some]
    found = dialled(connections, every, tokens, _REMEDY_S)
    reached = {each.dial for each in found if each.outcome is Outcome.REACHED}
    able = [at for at, some in tries.items() if reached.issuperset(some)]
    return dict(reversed(able))  # of several the first


def _others(address: str, known: Iterable[str]) -> Sequence[str]:
    """Return a host's other addresses, of the same kind as the one that was tried."""
    alike = [other for other in known if other != address and (":" in other) == (":" in address)]
    return alike[:_MOST_ADDRESSES]


def addresses(text: str) -> tuple[str, ...]:
    """Return the addresses in what `ip -o address` or `hostname -I` prints, IPv4 first."""
    found = re.findall(r"inet6? ([0-9a-f.:]+)", text) or text.split()
    able = [word for word in found if _is_address(word)]
    return tuple(sorted(dict.fromkeys(able), key=lambda address: ":" in address))


def _is_address(word: str) -> bool:
    try:
        return not ipaddress.ip_address(word).is_loopback
    except ValueError:
        return False


def _unheard(heard: Mapping[str, Listening]) -> Iterator[str]:
    for name, found in heard.items():
        for port, why in found.mute.items():
            if not _is_our_lack(found, why):
                yield f"{name}: nobody can listen on port {port}: {why.lower()}"


def _untried(heard: Mapping[str, Listening]) -> Iterator[str]:
    for name, found in heard.items():
        if not found.by:
            yield f"{name}: not checked whether the others reach it: {found.why}"
        for port, why in found.mute.items():
            if _is_our_lack(found, why):
                yield f"{name}: not checked whether port {port} is reached: {why.lower()}"


def _is_our_lack(found: Listening, why: str) -> bool:
    """Whether it is the login user who may not listen; who the tasks run as may be allowed to."""
    return found.by == HOST_PYTHON and why == "Permission denied"


def _undialled(found: Iterable[Dialled]) -> Iterator[str]:
    why = {d.dial.source: d.why for d in found if d.outcome is Outcome.NOT_TRIED}
    for name, reason in why.items():
        yield f"{name}: not checked whom it reaches: {reason}"
