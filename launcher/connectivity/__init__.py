"""Whether the hosts of a plan reach each other on the ports that TensorFlow will use.

Something listens on every planned port, as the tasks will, and is dialled from the other hosts
through this machine's connection to each. What cannot be tried is said, never taken for a pass.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher import questions
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
from launcher.errors import HostError
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


def check(
    plan: Plan,
    python: str,
    machines: Mapping[str, Machine],
    connection: Callable[[str], Connection],
) -> Matrix:
    """Return whether the hosts of a plan reach each other.

    python: the image's.
    connection: the connection to a host. Hosts that are not in `machines` are left out.
    """
    planned = pairs.ports(plan)
    dials = [d for d in pairs.dials(plan) if d.source in machines and d.target in machines]
    there = {name: machines[name] for name in planned if name in machines}
    connections = {name: connection(name) for name in there}
    wanted = {
        name: Wanted(planned[name], token(), plan.tasks[0].image or "", python) for name in there
    }
    tokens = {name: each.token for name, each in wanted.items()}
    with all_listening(there, connections, wanted) as heard:
        open_ = [d for d in dials if heard[d.target].by and d.port not in heard[d.target].mute]
        found = dialled(connections, open_, tokens)
        failed = pairs.failures(found)
        remedies = {
            target: _remedy(machines[target], connections, [d for d in open_ if d.target == target],
                            tokens)
            for target in failed
        }  # fmt: skip
    problems = [
        line
        for target, some in failed.items()
        for line in pairs.told(some, remedies[target], DIAL_S)
    ]
    return Matrix(
        len(dials),
        sum(each.outcome is Outcome.REACHED for each in found),
        (*_unheard(heard), *problems),
        (*_untried(heard), *_undialled(found)),
        heard,
    )


def _remedy(
    machine: Machine,
    connections: Mapping[str, Connection],
    dials: Sequence[Dial],
    tokens: Mapping[str, str],
) -> str:
    """Return another address of a host at which all that dialled it reach it; nothing for none."""
    try:
        told = machine.shell(questions.ADDRESSES)
    except HostError:
        return ""
    at = dials[0].address
    for address in [each for each in addresses(told) if each != at][:_MOST_ADDRESSES]:
        again = [dial._replace(address=address) for dial in dials]
        found = dialled(connections, again, tokens, _REMEDY_S)
        if all(each.outcome is Outcome.REACHED for each in found):
            return address
    return ""


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
