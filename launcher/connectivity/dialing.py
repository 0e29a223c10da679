"""Dials from hosts, through the SSH connection to each: nothing is needed there, or little.

A dial is a `direct-tcpip` channel, which the host's sshd connects. Where sshd forbids that, a
command on the host dials instead.
"""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from launcher.connectivity.pairs import Dial, Dialled, Outcome
from launcher.errors import HostError
from launcher.ssh import Connection

if TYPE_CHECKING:
    from paramiko.channel import Channel

DIAL_S = 2.0  #: for a port to answer
_THREADS = 256
_PROHIBITED = 1  # RFC 4254, 5.1
_COMMAND_S = 15.0
# What prints what a server says first; each with the words that tell why there was no answer.
_DIAL = """\
dial() {
  if command -v bash >/dev/null; then
    timeout SECONDS bash -c 'exec 3<>"/dev/tcp/$0/$1" && head -c LENGTH <&3' "$1" "$2" 2>&1
  elif command -v nc >/dev/null; then timeout SECONDS nc "$1" "$2" </dev/null 2>&1
  else echo missing
  fi
}
"""


def dialled(
    connections: Mapping[str, Connection], dials: Sequence[Dial], tokens: Mapping[str, str],
    timeout_s: float = DIAL_S,
) -> tuple[Dialled, ...]:  # fmt: skip
    """Return what comes of dials, all at once.

    connections: by host, to those that dial.
    tokens: by host, what its listener says.
    """
    if not dials:
        return ()
    forbids: set[str] = set()  # hosts that do not dial for us

    def attempt(dial: Dial) -> Dialled:
        try:
            return _through(connections[dial.source], dial, tokens[dial.target], timeout_s)
        except _Forbidden:
            forbids.add(dial.source)
            return Dialled(dial, Outcome.NOT_TRIED)

    with ThreadPoolExecutor(min(_THREADS, len(dials)), thread_name_prefix="dial") as pool:
        done = list(pool.map(attempt, dials))
    if not forbids:
        return tuple(done)
    left = {name: [d for d in dials if d.source == name] for name in forbids}

    def by_command(name: str) -> list[Dialled]:
        return _by_command(connections[name], left[name], tokens, timeout_s)

    with ThreadPoolExecutor(len(left), thread_name_prefix="dial") as pool:
        again = [each for some in pool.map(by_command, left) for each in some]
    instead = {each.dial: each for each in again}
    return tuple(instead.get(each.dial, each) for each in done)


class _Forbidden(Exception):
    """The host's sshd forwards to no other machine."""


def _through(connection: Connection, dial: Dial, token: str, timeout_s: float) -> Dialled:
    from paramiko import ChannelException, SSHException

    try:
        transport = connection.transport()
    except HostError as error:
        return Dialled(dial, Outcome.NOT_TRIED, str(error))
    try:
        channel = transport.open_channel(
            "direct-tcpip", (dial.address, dial.port), ("127.0.0.1", 0), timeout=timeout_s
        )
    except ChannelException as error:
        if error.code == _PROHIBITED:
            raise _Forbidden from None
        return Dialled(dial, *_refusal(error.text))
    except (SSHException, OSError, EOFError) as error:
        if transport.is_active():
            return Dialled(dial, Outcome.SILENT)
        return Dialled(dial, Outcome.NOT_TRIED, f"the connection to it was lost: {error}")
    try:
        return Dialled(dial, _answer(channel, token, timeout_s))
    finally:
        channel.close()


def _answer(channel: "Channel", token: str, timeout_s: float) -> Outcome:
    """Return whether it is the listener that answers, who says its token first."""
    said, end = b"", time.monotonic() + timeout_s
    try:
        while len(said) < len(token):
            channel.settimeout(max(0.01, end - time.monotonic()))
            more = channel.recv(len(token) - len(said))
            if not more:
                break
            said += more
    except OSError:
        pass
    return Outcome.REACHED if said == token.encode() else Outcome.OTHER


def _refusal(text: str) -> tuple[Outcome, str]:
    """Return what sshd, or a command, says of a connection that was not made."""
    words = text.lower()
    if "refused" in words:
        return Outcome.REFUSED, ""
    if "timed out" in words or not words.strip():
        return Outcome.SILENT, ""
    return Outcome.NO_ROUTE, " ".join(text.split())


def _by_command(
    connection: Connection, dials: Sequence[Dial], tokens: Mapping[str, str], timeout_s: float
) -> list[Dialled]:
    """Return what comes of dials by a command on the host, which has bash or nc for it."""
    length = max(len(tokens[dial.target]) for dial in dials)
    script = _DIAL.replace("SECONDS", f"{timeout_s:g}").replace("LENGTH", str(length))
    for number, dial in enumerate(dials):
        words = shlex.join((dial.address, str(dial.port)))
        script += f'{{ said=$(dial {words}); echo "@{number} $said"; }} &\n'
    try:
        done = connection.run("sh -s", stdin=(script + "wait\n").encode(), timeout_s=_COMMAND_S)
    except HostError as error:
        return [Dialled(dial, Outcome.NOT_TRIED, str(error)) for dial in dials]
    said = dict(_answers(done.stdout.decode(errors="replace")))
    return [_judged(dial, said.get(n, ""), tokens[dial.target]) for n, dial in enumerate(dials)]


def _answers(text: str) -> Iterator[tuple[int, str]]:
    for part in f"\n{text}".split("\n@")[1:]:
        number, _, said = part.partition(" ")
        yield int(number), said.strip()


def _judged(dial: Dial, said: str, token: str) -> Dialled:
    if said == token:
        return Dialled(dial, Outcome.REACHED)
    if said == "missing":
        why = "its sshd forbids TCP forwarding, and it has neither bash nor nc to dial with"
        return Dialled(dial, Outcome.NOT_TRIED, why)
    if said.startswith("preflight-"):
        return Dialled(dial, Outcome.OTHER)
    return Dialled(dial, *_refusal(said.rpartition(": ")[2]))
