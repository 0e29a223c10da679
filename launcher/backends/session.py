"""What lives in a session: all that a task started, in whatever process group it stands.

A task's first process leads a session of its own. What it starts stays in that session unless it
calls setsid itself, also where a shell's job control or `timeout` moves it to another process
group. Linux shows this in /proc; elsewhere the leader's own group stands for the session.
"""

import contextlib
import os
import signal
from collections.abc import Iterator


def groups(session: int) -> frozenset[int]:
    """Return the process groups in which a process of `session` lives; zombies do not live."""
    return frozenset(group for state, group, of in _processes() if of == session and state != "Z")


def send(session: int, signum: signal.Signals) -> None:
    """Send a signal to every process of a session whose leader has not been reaped."""
    for group in groups(session) | {session}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signum)


def _processes() -> Iterator[tuple[str, int, int]]:
    """Yield each process's state, process group and session."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:  # it has ended meanwhile
            continue
        # The command's name stands in parentheses and may hold any of what follows it.
        state, _parent, group, session, *_ = text.rpartition(")")[2].split()
        yield state, int(group), int(session)
