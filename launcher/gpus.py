"""GPUs as nvidia-smi tells of them: which there are, what uses them, and what that rules out.

This reads texts and judges them; who asks a machine is `gpus_here`, or `readings` for hosts with
Docker.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from launcher.task import TaskId

LIST = ("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
APPS = ("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader")

_NOT_THERE = ("not found", "No such file")  # a shell's words for a program that it lacks
_SHARES = "nvidia-cuda-mps-server"  # it has a GPU open so that several may compute on it
MIG = "MIG-"  #: how the name of a part of a GPU begins; nvidia-smi lists whole ones


class Gpu(NamedTuple):
    """A GPU as its machine's nvidia-smi names it."""

    number: str
    uuid: str


def named(gpus: Iterable[Gpu], device_id: str) -> Gpu | None:
    """Return the GPU that an index, a UUID or the beginning of one names."""
    for gpu in gpus:
        if device_id == gpu.number or (
            device_id.startswith("GPU-") and gpu.uuid.startswith(device_id)
        ):
            return gpu
    return None


def listed(lines: Iterable[str]) -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi lists; it may say more, of one that fails, say."""
    rows = ([part.strip() for part in line.split(",")] for line in lines)
    return tuple(Gpu(row[0], row[1]) for row in rows if len(row) == 2 and row[0].isdigit())


def users(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return by UUID the processes that compute on a GPU, as `python3 (pid 12)`.

    Their names are other people's: they are made fit for any terminal.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        uuid, _, rest = line.partition(",")
        pid, _, name = (part.strip() for part in rest.partition(","))
        if not pid.isdigit() or name.endswith(_SHARES):
            continue
        shown = "".join(c if c.isprintable() else "?" for c in name)
        found[uuid.strip()] = (*found.get(uuid.strip(), ()), f"{shown} (pid {pid})")
    return found


def failure(said: str) -> str:
    """Return what nvidia-smi says as it fails, in words; nothing where it is not there."""
    is_there = said and not any(words in said for words in _NOT_THERE)
    return f"nvidia-smi fails ({said})" if is_there else ""


class Known(NamedTuple):
    """What is known of one machine's GPUs.

    gpus: None where its nvidia-smi shows none.
    said: what nvidia-smi or the shell said then.
    users: for a GPU's UUID, what uses it now: `python (pid 12)`, `container web`.
    holders: for a GPU's UUID, which runs have it, or want it: `held by run lab-x of ann`.
    """

    gpus: tuple[Gpu, ...] | None = None
    said: str = ""
    users: Mapping[str, tuple[str, ...]] = {}
    holders: Mapping[str, tuple[str, ...]] = {}

    def problems(self, wanted: Iterable[tuple[str, TaskId]]) -> Iterator[str]:
        """Yield what keeps tasks from having the GPUs of these ids."""
        if self.gpus is None:
            what = failure(self.said) or "there is no nvidia-smi"
            yield f"{what}; install NVIDIA's driver, or lend no GPUs of this host"
            return
        shown = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in self.gpus) or "none"
        given: dict[str, str] = {}
        for device_id, task in wanted:
            gpu = named(self.gpus, device_id)
            what = f"GPU {device_id}, which {task} shall have"
            if gpu is None:
                yield f"has no {what}; it has {shown}"
            elif holders := self.holders.get(gpu.uuid):
                yield f"{what}, is {', '.join(holders)}"
            elif users := self.users.get(gpu.uuid):
                yield f"{what}, is used by {', '.join(users)}"
            elif given.setdefault(gpu.uuid, device_id) != device_id:
                yield f"{what}, is the one that its `gpus` name as {given[gpu.uuid]} too"
