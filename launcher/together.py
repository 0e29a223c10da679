"""A task that ends with its cluster where nobody watches over them, whatever its code is.

TensorFlow's servers never end, nor do most evaluators. So the chief's `launch exec` stays when its
command has succeeded, and says so on the chief's port to whoever connects; those of the others
ask there, and end their commands. It needs no shared disk and no word of the training code.
"""

import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import NamedTuple

from launcher.address import Address
from launcher.strategy import Role
from launcher.tf_config import TfConfig

GONE_S = "LAUNCH_CHIEF_GONE_S"  # how long a chief may be away, once it was seen
CHIEF, OTHERS = "LAUNCH_CHIEF", "LAUNCH_OTHERS"  # its address, and how many will ask there
COMPLETE = b"launch: the run is complete\n"
LOOK_S = 1.0
_ANNOUNCE_S = 15.0


class Limits(NamedTuple):
    """How long is waited for what, in seconds.

    grace_s: after SIGTERM, for the command to end.
    gone_s: for a chief that was seen to come back. For one that was not seen yet there is no limit:
        its machine may be long in coming, and who waits for one ends a run by other means.
    """

    grace_s: float = 30.0
    gone_s: float = 120.0

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Limits":
        """Return those that whoever started the task wants."""
        try:
            return cls(gone_s=float(environ[GONE_S]))
        except (KeyError, ValueError):
            return cls()


def attends(config: TfConfig, environ: Mapping[str, str]) -> bool:
    """Whether a task has to stay with its command, to tell others or to be told."""
    if not environ.get(CHIEF):
        return False
    return config.is_chief or config.role in (Role.SERVE, Role.EVALUATE)


def attend(
    command: Sequence[str],
    environ: Mapping[str, str],
    config: TfConfig,
    limits: Limits | None = None,
) -> int:
    """Run a task's command; return its exit code, 0 where it was ended with the run.

    Raises OSError where the command cannot be started.
    """
    chief = Address.parse(environ[CHIEF])
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    with subprocess.Popen(command, env=dict(environ)) as child:
        started.append(child)
        for each in early:
            child.send_signal(each)
        if config.role in (Role.SERVE, Role.EVALUATE):
            return _follow(child, chief, limits or Limits.read(environ))
        code = _code(child.wait())
    if code == 0:
        _announce(chief.port, int(environ.get(OTHERS) or 0))
    return code


def _announce(port: int, others: int) -> None:
    """Say on a port that the run is complete, until all others have heard or a while has passed."""
    end = monotonic() + _ANNOUNCE_S
    heard: set[str] = set()
    try:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError:
        return  # somebody still has the port: the others will see the chief go
    with listener:
        while len(heard) < others and (left_s := end - monotonic()) > 0:
            listener.settimeout(left_s)
            with suppress(OSError):
                connection, peer = listener.accept()
                with connection:
                    connection.sendall(COMPLETE)
                heard.add(peer[0])


def _follow(child: "subprocess.Popen[bytes]", chief: Address, limits: Limits) -> int:
    """Return the exit code of a command that is ended when the run is complete, or lost."""
    seen_at: float | None = None
    while True:
        with suppress(subprocess.TimeoutExpired):
            return _code(child.wait(LOOK_S))
        said = _ask(chief)
        if said == COMPLETE:
            _end(child, limits.grace_s)
            return 0
        if said is not None:
            seen_at = monotonic()
        if seen_at is not None and monotonic() - seen_at >= limits.gone_s:
            _end(child, limits.grace_s)
            return 1


def _ask(chief: Address) -> bytes | None:
    """Return what the chief's port says first; None where nobody listens."""
    try:
        with socket.create_connection(chief, timeout=LOOK_S) as connection:
            try:
                return connection.recv(len(COMPLETE))
            except OSError:
                return b""
    except OSError:
        return None


def _end(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _code(returned: int) -> int:
    return 128 - returned if returned < 0 else returned
