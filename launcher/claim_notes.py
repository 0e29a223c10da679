"""What runs of processes say on their machine of what they hold, as names that the kernel keeps.

Names of abstract Unix sockets: whoever looks sees them, nobody can change another's, and they fall
with the process that said them. What decides who holds something is `claims`.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from launcher.claim import since

_LIST = "/proc/net/unix"
_MARK = "launch-claim"
_HOLDS, _WAITS = "h", "w"
_NAME_BYTES = 107
_LATEST_MS = 1 << 42  # that a calendar has room for


class Note(NamedTuple):
    """What one run says of one thing: that it holds it, or since when it waits for it."""

    what: str
    holds: bool
    at_ms: int
    owner: str
    run: str

    def words(self, now: float) -> str:
        """Return in words who it is."""
        return f"{shown(self.what)} is {self.holding(now)}"

    def holding(self, now: float) -> str:
        """Return `held by run lab-x of ann since 12:04`."""
        how = "held" if self.holds else "waited for"
        return f"{how} by run {self.run} of {self.owner}{since(self.at_ms / 1000, now)}"

    def is_of(self, run: str) -> bool:
        """Whether it is a run's own; a long run's name is cut."""
        return bool(self.run) and self.run == run[: len(self.run)]

    @property
    def name(self) -> str:
        """The socket's name; a long run's is cut."""
        state = _HOLDS if self.holds else _WAITS
        text = f"{_MARK}/{state}/{self.at_ms:x}/{self.owner}/{self.what}/{self.run}"
        return text.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


def notes() -> tuple[Note, ...]:
    """Return all that runs on this machine say; nothing on a system that does not list it."""
    try:
        with open(_LIST, encoding="utf-8", errors="replace") as file:
            return notes_in(file)
    except OSError:
        return ()


def notes_in(lines: Iterable[str]) -> tuple[Note, ...]:
    """Return what runs say on the machine of which these are lines of the kernel's list."""
    names = [line.split()[-1] for line in lines if f" @{_MARK}/" in line]
    return tuple(note for name in names if (note := _note(name.removeprefix("@"))))


def _note(name: str) -> Note | None:
    parts = name.split("/")
    if len(parts) != 6 or not all(map(str.isprintable, parts)):
        return None
    _, state, at_ms, owner, what, run = parts
    kind, _, thing = what.partition("-")
    try:
        at = int(at_ms, 16)
        if kind == "port":
            int(thing)
    except ValueError:
        return None
    return Note(what, state == _HOLDS, at, owner, run) if 0 <= at < _LATEST_MS else None


def gpu_users(notes: Iterable[Note], uuids: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return by UUID which run of processes was given a GPU; uuids: by the GPU's number."""
    given = {f"gpu-{number}": uuid for number, uuid in uuids.items()}
    return {
        given[note.what]: (f"run {note.run} of {note.owner} (processes)",)
        for note in notes
        if note.holds and note.what in given
    }


def shown(what: str) -> str:
    """Return in words what is held: `GPU 0`, `port 2222`."""
    kind, _, name = what.partition("-")
    return f"GPU {name}" if kind == "gpu" else f"{kind} {name}"
