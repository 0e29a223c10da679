"""The moment before a cluster forms: who is missing is named, and waiting has an end.

TensorFlow waits for a declared task without a word, for an hour or for ever, deaf to signals.
So each task first waits here until every peer listens. Workers of MultiWorkerMirroredStrategy do
not listen before they wait for each other: until all are there, a plain socket stands in at the
task's own port.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from enum import Enum

from launcher.address import Address
from launcher.errors import LaunchError
from launcher.task import TaskId

_LOOK_S = 0.1
_FIRST_WORD_S = 10.0
_WORD_S = 30.0


class Absence(Enum):
    """Why nobody was met at an address; the value goes round the names of who is missing."""

    SILENT = "nothing listens for {}"
    UNREACHABLE = "no connection to {}: host down, wrong address or a firewall between"
    UNKNOWN = "no address known of {}"


def absence(address: str, timeout_s: float = 1.0) -> Absence | None:
    """Return why nothing accepts connections at a `host:port`; None where something does."""
    parsed = Address.parse(address)
    try:
        socket.create_connection((parsed.host, parsed.port), timeout_s).close()
    except ConnectionRefusedError:
        return Absence.SILENT
    except socket.gaierror:
        return Absence.UNKNOWN
    except OSError:
        return Absence.UNREACHABLE
    return None


def listens(address: str) -> bool:
    """Whether something accepts connections at a `host:port`."""
    return absence(address) is None


def is_here(host: str) -> bool:
    """Whether a host is this machine: whether something could listen there."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    for family, kind, _, _, address in found:
        try:
            with socket.socket(family, kind) as probe:
                probe.bind(address)
        except OSError:
            continue
        return True
    return False


def leave(code: int, text: str = "") -> None:
    """End this process now, past TensorFlow's destructors, which may wait for peers."""
    if text:
        print(text, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def gather(peers: Mapping[TaskId, str], start_timeout_s: float, own: str | None = None) -> None:
    """Wait until every peer (task → address) has listened, at the task's own address meanwhile.

    own: where TensorFlow will listen only later; None when the peers need not find this task.

    Raises:
        LaunchError: naming who did not come in `start_timeout_s`, or when `own` is taken.
    """
    missing = dict(peers)
    started = time.monotonic()
    next_word_s = _FIRST_WORD_S
    with _standing_in(own, len(peers)) if own and peers else nullcontext():
        while reasons := _look(missing):
            waited_s = time.monotonic() - started
            if waited_s >= start_timeout_s:
                raise LaunchError(
                    f"the cluster did not form in {start_timeout_s:g} s: {_told(reasons, peers)}"
                )
            if waited_s >= next_word_s:
                next_word_s += _WORD_S
                print(f"the cluster has not formed yet: {_told(reasons, peers)}", flush=True)
            time.sleep(_LOOK_S)


def _look(missing: dict[TaskId, str]) -> Mapping[TaskId, Absence]:
    """Take out of `missing` who listens now; return why the others are not met."""
    reasons = {}
    for task, address in tuple(missing.items()):
        reason = absence(address)
        if reason:
            reasons[task] = reason
        else:
            del missing[task]
    return reasons


def _standing_in(address: str, peers: int) -> socket.socket:
    """Return a socket that listens at the address's port on every interface, as TensorFlow does."""
    port, backlog = Address.parse(address).port, 2 * peers + 16
    try:
        if socket.has_dualstack_ipv6():
            family = socket.AF_INET6
            return socket.create_server(
                ("", port), family=family, backlog=backlog, dualstack_ipv6=True
            )
        return socket.create_server(("", port), backlog=backlog)
    except OSError as error:
        raise LaunchError(f"cannot listen at {address}: {error.strerror}") from None


def _told(reasons: Mapping[TaskId, Absence], peers: Mapping[TaskId, str]) -> str:
    """Return who is missing, by reason."""
    told = []
    for reason in Absence:
        names = [f"{task} ({peers[task]})" for task, why in reasons.items() if why is reason]
        if names:
            told.append(reason.value.format(", ".join(names)))
    return "; ".join(told)
