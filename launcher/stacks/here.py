"""The stacks of a task that is a process on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence

from launcher.stacks import (
    HAS_HANDLER,
    Process,
    Stacks,
    py_spy_answer,
    py_spy_command,
    ways,
)

_READ_S = 10.0
_DELIVERED_S = 1.0
_POLL_S = 0.01


def dump(leader: int, announced: Collection[int] = ()) -> Stacks:
    """Have the stacks of a task that is a process here, the leader of a session of its own.

    announced: the processes of which markers said that they may be asked.
    """
    py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=os.path.dirname(sys.executable))
    found = ways(tuple(_of_session(leader)), announced, has_py_spy=py_spy is not None)
    problems = [*found.problems, *_ask(found.ask)]
    texts = []
    for pid in found.read:
        text, problem = _read(str(py_spy), pid)
        texts.append(text)
        problems += [problem] if problem else []
    return Stacks("".join(texts), tuple(problems))


def _of_session(leader: int) -> Iterator[Process]:
    """Yield the processes of a session."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.getsid(int(name)) == leader:
                yield _process(int(name))
        except OSError:  # it has ended meanwhile
            continue


def _process(pid: int) -> Process:
    fields = _status(pid)
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        program = fields["Name"]
    return Process(pid, fields["State"][0], int(fields["SigCgt"], 16), program)


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        lines = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in lines}


def _ask(pids: Sequence[int]) -> Iterator[str]:
    """Ask processes for their stacks; yield a line for each that has not taken the request."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGUSR1)
            give_up_at = time.monotonic() + _DELIVERED_S
            while int(_status(pid)["ShdPnd"], 16) & HAS_HANDLER:
                if time.monotonic() > give_up_at:
                    yield f"process {pid} was asked for its stacks, and has not answered"
                    break
                time.sleep(_POLL_S)
        except ProcessLookupError:
            yield f"process {pid} has ended"
        except OSError as error:
            yield f"process {pid} cannot be asked for its stacks: {error.strerror}"


def _read(program: str, pid: int) -> tuple[str, str]:
    """Return the stacks of a process, or the reason why there are none."""
    try:
        done = subprocess.run(
            py_spy_command(program, pid),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_READ_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"py-spy cannot read process {pid}: {error}"
    return py_spy_answer(done.stdout.decode(errors="replace"), pid)
