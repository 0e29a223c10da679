"""Where a task hangs: the stacks of its Python processes, here or in a container.

A process of our training loop prints them itself when it is sent SIGUSR1, straight into its log.
That signal kills what does not expect it, so only a process that announced it (the marker
`dumps`), and has a handler for it, is asked. The others are read from outside by py-spy where that
is installed and allowed; it does not pause them. Where neither can be, one line says why.

How it is done here is `launcher.stacks.here`'s, in a container `launcher.stacks.inside`'s.
"""

import os
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

HAS_HANDLER = 1 << (signal.SIGUSR1 - 1)  #: the bit of SIGUSR1 in the kernel's masks
_MOST = 8  # processes of one task that are read
_STOPPED, _IN_KERNEL, _DEAD = "Tt", "D", "ZX"


class Stacks(NamedTuple):
    """What came of asking a task where it is.

    text: what py-spy read, for the task's log; a process that prints its stacks itself has them
        there already.
    problems: for each process without stacks a line that says why.
    """

    text: str = ""
    problems: tuple[str, ...] = ()

    def kept_beside(self, log_path: str) -> tuple[str, ...]:
        """Write what was read beside an attempt's log, as .stacks; return all problems."""
        path = os.path.splitext(log_path)[0] + ".stacks"
        try:
            if self.text:
                with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(self.text)
        except OSError as error:
            return (*self.problems, f"{path}: cannot be written: {error.strerror}")
        return self.problems


class Process(NamedTuple):
    """A process as the kernel describes it.

    state: its letter (R, S, D, T, Z).
    catches: the signals that it has handlers for, a bit each.
    program: the name of what it executes, or its own.
    """

    pid: int
    state: str
    catches: int
    program: str


class Ways(NamedTuple):
    """How the stacks of a task's processes are had: by asking them, or by reading them."""

    ask: tuple[int, ...] = ()
    read: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


def announced(marker: Mapping[str, object]) -> int | None:
    """Return the process that a marker says may be asked; None for any other marker."""
    pid = marker.get("pid")
    is_ours = marker.get("kind") == "dumps" and marker.get("signal") == signal.SIGUSR1.name
    return pid if is_ours and isinstance(pid, int) and pid > 0 else None


def ways(processes: Sequence[Process], announced: Collection[int], *, has_py_spy: bool) -> Ways:
    """Return how the stacks of a task are had, whose living processes are `processes`."""
    ask: list[int] = []
    read: list[int] = []
    problems: list[str] = []
    for process in processes:
        pid, is_stopped = process.pid, process.state in _STOPPED
        if process.state in _DEAD or not _is_python(process, announced):
            continue
        if process.state in _IN_KERNEL:
            problems.append(f"process {pid} waits in the kernel, for a disk or a network's files")
        if pid in announced and process.catches & HAS_HANDLER and not is_stopped:
            ask.append(pid)
        elif has_py_spy and len(read) < _MOST:
            read.append(pid)
        elif is_stopped:
            problems.append(f"process {pid} is stopped (SIGSTOP): only py-spy could read it")
        elif pid not in announced and ask:
            continue  # a child of a process that tells where it is
        else:
            problems.append(f"process {pid} does not print its stacks, and there is no py-spy")
    if not ask and not read and not problems:
        problems.append("no Python process lives in it")
    return Ways(tuple(ask), tuple(read), tuple(problems))


def _is_python(process: Process, announced: Collection[int]) -> bool:
    return process.pid in announced or process.program.startswith("python")


def py_spy_command(program: str, pid: int) -> tuple[str, ...]:
    """Return what prints the stacks of a process, which goes on meanwhile."""
    return program, "dump", "--nonblocking", "--pid", str(pid)


def py_spy_answer(output: str, pid: int) -> tuple[str, str]:
    """Return what py-spy printed as stacks, or as a problem."""
    if "Thread " in output:
        return output, ""
    lines = [line for line in output.splitlines() if line.strip()]
    why = lines[0] if lines else "it printed nothing"
    return "", f"py-spy cannot read process {pid}: {why}"
