"""Claims of runs of processes on this machine's GPUs and ports, for as long as a launcher lives.

A port can be free when it is looked at and wanted by a run that is still importing TensorFlow, and
a GPU is in use before its memory is. So a run holds what it was given by names that the kernel
keeps (abstract Unix sockets): they exclude each other among all users, leave no file behind, and
fall when their holders have ended, however they end: the launcher, and the task itself, which goes
on where the launcher was killed. Further such names, which anybody can list, say who holds what,
and who waits for it.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Collection, Iterable
from types import TracebackType

from launcher.claim_notes import Note, notes, shown
from launcher.container import Container
from launcher.errors import HostError
from launcher.user import user_name

_OWNER_LETTERS = 16
_POLL_S = 0.2


def wanted(tasks: Iterable[Container]) -> frozenset[str]:
    """Return what tasks take of this machine as processes: `gpu-0`, `port-2222`."""
    gpus, ports = set[str](), set[int]()
    for each in tasks:
        gpus.update(each.gpus)
        ports.update([each.address.port] if each.address.port else [])
    return frozenset([*(f"gpu-{g}" for g in _numbers(gpus)), *(f"port-{p}" for p in ports)])


def _numbers(gpus: Collection[str]) -> Iterable[str]:
    """Return GPUs by number where nvidia-smi knows them: one has several names."""
    if all(gpu.isdigit() for gpu in gpus):
        return gpus
    from launcher.gpus_here import numbers

    known = numbers()
    return [next((n for u, n in known.items() if u.startswith(gpu)), gpu) for gpu in gpus]


class Claims:
    """What one run holds on this machine; a context that lets it go.

    say: shows a line to the user who waits.
    """

    def __init__(self, run_id: str, say: Callable[[str], None]) -> None:
        self._run = run_id
        self._say = say
        self._held = contextlib.ExitStack()
        self._names: frozenset[str] = frozenset()
        self._sockets: dict[str, list[socket.socket]] = {}

    def __enter__(self) -> "Claims":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.close()

    def take(self, names: Iterable[str], *, wait: bool) -> None:
        """Hold all of it or nothing, beside what is held already.

        wait: whether to wait for those who hold it, behind those who have waited for longer.

        Raises:
            HostError: others hold something of it, or wait for it.
        """
        lacking = frozenset(names) - self._names
        at_ms = int(time.time() * 1000)
        with contextlib.ExitStack() as queue:
            if wait:
                self._note(queue, lacking, at_ms, holds=False)
            told = ""
            while (locked := self._locked(lacking, at_ms)) is None:
                before = self._before(lacking, at_ms)
                if not wait:
                    raise HostError(_refusal(before, lacking))
                told = self._tell(before, told)
                time.sleep(_POLL_S)
            self._held.enter_context(locked)
            self._note(self._held, lacking, int(time.time() * 1000), holds=True)
        self._names |= lacking

    def descriptors(self, container: Container) -> tuple[int, ...]:
        """Return the files that hold what a task was given, for its process to keep open."""
        return tuple(
            held.fileno() for name in wanted([container]) for held in self._sockets.get(name, ())
        )

    def _locked(self, names: Collection[str], at_ms: int) -> contextlib.ExitStack | None:
        """Return the locks of all names, None where others hold one or have waited for longer."""
        if any(not note.holds for note in self._before(names, at_ms)):
            return None
        with contextlib.ExitStack() as stack:
            for name in sorted(names):  # in one order: of several that do this one gets through
                lock = stack.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    lock.bind(f"\0launch-{name}")
                except OSError:
                    return None
                self._sockets[name] = [lock]
            return stack.pop_all()

    def _before(self, names: Collection[str], at_ms: int) -> list[Note]:
        """Return who holds one of the names, or has waited for it for longer."""
        return sorted(
            note
            for note in notes()
            if note.what in names
            and not note.is_of(self._run)
            and (note.holds or (note.at_ms, note.run) < (at_ms, self._run))
        )

    def _note(
        self, stack: contextlib.ExitStack, names: Iterable[str], at_ms: int, *, holds: bool
    ) -> None:
        for name in names:
            note = Note(name, holds, at_ms, _owner(), self._run)
            told = stack.enter_context(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(OSError):  # it would only have been told
                told.bind(f"\0{note.name}")
            if holds:
                self._sockets[name].append(told)

    def _tell(self, before: list[Note], told: str) -> str:
        """Tell the user whom the run waits for, where that has changed."""
        now = time.time()
        held = [note.words(now).replace(" is held", " held", 1) for note in before if note.holds]
        queue = len({note.run for note in before if not note.holds})
        count = "1 run" if queue == 1 else f"{queue} runs"
        text = "; ".join([*held, *([f"{count} before this one"] if queue else [])])
        if text and text != told:
            self._say(f"waiting for {text}")
        return text or told


def _refusal(before: Iterable[Note], names: Collection[str]) -> str:
    """Return who is in the way; who has just taken something may not have said so yet."""
    now = time.time()
    said = [note.words(now) for note in before]
    wanted = ", ".join(map(shown, sorted(names)))
    return "\n".join(said) or f"another run on this machine holds something of: {wanted}"


def _owner() -> str:
    """Return who performs a run, in a form that fits into a name."""
    return "".join(c for c in user_name() if c.isalnum() or c in "._-")[:_OWNER_LETTERS] or "?"
