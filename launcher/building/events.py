"""What an engine reports while it builds, pulls or pushes, as events.

The engine's own form is the legacy builder's: JSON messages whose `stream` text comes in pieces of
any size, with `Step 3/7 : …` and ` ---> …` between the lines that the steps themselves print.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from urllib3.exceptions import ProtocolError

from launcher.errors import HostError
from launcher.logs import printable


class Step(NamedTuple):
    """A step of the build begins: an instruction of the Dockerfile, on one line."""

    number: int
    total: int
    instruction: str

    def __str__(self) -> str:
        return f"step {self.number}/{self.total}: {self.instruction}"


class Cached(NamedTuple):
    """The step that began last has nothing to do."""


class Line(NamedTuple):
    """A line that the current step printed."""

    text: str


class Layer(NamedTuple):
    """How far one layer of an image has come on its way from or to a registry.

    total_bytes: 0 where nothing is being moved.
    """

    id: str
    status: str
    done_bytes: int = 0
    total_bytes: int = 0


Event = Step | Cached | Line | Layer
OnEvent = Callable[[Event], None]
Message = Mapping[str, Any]

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_CHATTER = re.compile(
    r" ---> |Removing intermediate container [0-9a-f]{12}$|Successfully (built [0-9a-f]{12}|tagged)"
)


class Lines:
    """Puts the pieces of the builder's text together: feed them, get events."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> Iterator[Event]:
        """Yield an event for each line that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            yield from _line(line)

    def end(self) -> Iterator[Event]:
        """Yield the event of a last line without an end."""
        yield from _line(self._rest)
        self._rest = ""


def _line(raw: str) -> Iterator[Event]:
    # The engine colours what went to standard error, and takes the colour off in the next line.
    line = printable(raw.encode()).decode()
    found = _STEP.match(line)
    if found:
        yield Step(int(found[1]), int(found[2]), " ".join(found[3].split()))
    elif line.startswith(" ---> Using cache"):
        yield Cached()
    elif line.strip() and not _CHATTER.match(line):
        yield Line(line)


def heard(host: str, messages: Iterable[Message]) -> Iterator[Message]:
    """Yield the engine's messages. Raises HostError where they are cut off."""
    try:
        yield from messages
    except ProtocolError:
        what = "ended the connection; is its daemon still running (systemctl status docker)?"
        raise HostError(f"{host}: Docker {what}") from None


def layer(message: Message) -> Layer | None:
    """Return what a message says about a layer, None where it is about something else."""
    status, of = message.get("status"), message.get("id")
    if not isinstance(status, str) or not isinstance(of, str) or status.startswith("Pulling from"):
        return None
    detail = message.get("progressDetail") or {}
    return Layer(of, status, int(detail.get("current") or 0), int(detail.get("total") or 0))


def problem(message: Message) -> str:
    """Return the reason that a message gives for the end of the work, or nothing.

    `message` alone is the engine's refusal of the request itself.
    """
    detail = message.get("errorDetail") or {}
    if detail.get("code"):
        return f"it ended with {detail['code']}"
    reason = detail.get("message") or message.get("error") or message.get("message") or ""
    return str(reason).strip()
