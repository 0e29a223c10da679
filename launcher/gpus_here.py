"""This machine's GPUs: what its nvidia-smi says of them, and what runs of processes hold."""

import functools
import os
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence

from launcher import claim_notes, gpus
from launcher.container import Container
from launcher.errors import HostError
from launcher.gpus import Known

_ANSWER_S = 30
_FREED_S = 2.0  # how long a process may take to give its GPU back after the run's claim fell
_LOOK_S = 0.1


def ids(run_id: str = "") -> tuple[str, ...]:
    """Return the ids of this machine's NVIDIA GPUs, the least wanted last.

    run_id: the run that they are for: those that it holds already come first.

    There are none where nvidia-smi shows none. Of a shared machine $CUDA_VISIBLE_DEVICES says which
    of them the user may take (as Slurm does). Those that runs hold come after the free ones, and
    last those that something else uses: for a run one can wait.
    """
    here = known()
    if not here.gpus:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [gpu.number for gpu in here.gpus] if visible is None else visible.split(",")
    found = [each.strip() for each in named]
    own = {note.what for note in claim_notes.notes() if note.holds and note.is_of(run_id)}
    found.sort(key=lambda device_id: _unwanted(here, device_id, own))
    return tuple(each for each in found if each not in ("", "-1", "NoDevFiles"))


def _unwanted(here: Known, device_id: str, own: Collection[str]) -> int:
    gpu = gpus.named(here.gpus or (), device_id)
    if gpu is None:
        return 0
    if f"gpu-{gpu.number}" in own:
        return -1
    return 1 if here.holders.get(gpu.uuid) else 2 if here.users.get(gpu.uuid) else 0


@functools.cache
def listed() -> Known:
    """Return which GPUs there are: they are the same for as long as this process lives."""
    return _listed(_asked(gpus.LIST))


def numbers() -> dict[str, str]:
    """Return the number of each of this machine's GPUs by its UUID."""
    return {gpu.uuid: gpu.number for gpu in listed().gpus or ()}


def known() -> Known:
    """Return what there is to know of this machine's GPUs now."""
    apps = _asked(gpus.APPS)  # it answers while the list is asked for
    here = listed()
    if not here.gpus:
        _answer(apps)
        return here
    now = time.time()
    holders: dict[str, tuple[str, ...]] = {}
    for note in claim_notes.notes():
        gpu = gpus.named(here.gpus, note.what.removeprefix("gpu-"))
        if note.holds and gpu is not None and note.what.startswith("gpu-"):
            holders[gpu.uuid] = (*holders.get(gpu.uuid, ()), note.holding(now))
    return here._replace(users=gpus.users(_answer(apps)[1]), holders=holders)


def check_there(tasks: Sequence[Container]) -> None:
    """Refuse tasks that want GPUs that this machine has not. Raises HostError."""
    _refuse(listed(), tasks)


def check_idle(tasks: Sequence[Container]) -> None:
    """Refuse tasks whose GPUs, which their run holds, are used by something else.

    A process of a run that has just ended may still be giving its memory back, so a moment passes
    before. Nobody else's is waited for: when that ends is not ours to know.

    Raises:
        HostError: with what uses them.
    """
    end = time.monotonic() + _FREED_S
    while True:
        here = known()._replace(holders={})  # us
        if not any(True for _ in _problems(here, tasks)) or time.monotonic() > end:
            break
        time.sleep(_LOOK_S)
    _refuse(here, tasks)


def problems(tasks: Sequence[Container]) -> tuple[str, ...]:
    """Return all that keeps tasks from having their GPUs now; what runs hold is among it."""
    return tuple(_problems(known(), tasks)) if any(task.gpus for task in tasks) else ()


def _refuse(here: Known, tasks: Sequence[Container]) -> None:
    if found := tuple(_problems(here, tasks)):
        raise HostError("\n".join(found))


def _problems(here: Known, tasks: Sequence[Container]) -> Iterable[str]:
    wanted = [
        (device_id, container.task)
        for container in tasks
        for device_id in container.gpus
        if not device_id.startswith(gpus.MIG)
    ]
    if not wanted:
        return ()
    host = tasks[0].host  # processes have just one
    return (f"{host}: {what}" for what in here.problems(wanted))


# nvidia-smi

_Asked = subprocess.Popen[str] | None


def _asked(command: Sequence[str]) -> _Asked:
    """Return nvidia-smi, asked; None where it is not there."""
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError:
        return None


def _answer(asked: _Asked) -> tuple[int | None, list[str]]:
    """Return its exit code and what it printed; no code where it is not there, or does not end."""
    if asked is None:
        return None, []
    try:
        text, _ = asked.communicate(timeout=_ANSWER_S)
    except subprocess.TimeoutExpired:  # one that is stuck in the driver does not even end
        asked.kill()
        return None, [f"no answer within {_ANSWER_S} s"]
    return asked.returncode, [line.strip() for line in text.splitlines() if line.strip()]


def _listed(asked: _Asked) -> Known:
    code, lines = _answer(asked)
    if code == 0:
        return Known(gpus.listed(lines))
    return Known(None, lines[0] if lines else "")
