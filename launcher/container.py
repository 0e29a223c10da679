"""What one task needs to run, as a value: the same for a process and for a container.

It lacks TF_CONFIG, which every task has in full and which would make planning quadratic: the
plan renders the environment when a task is shown or started.
"""

from collections.abc import Mapping
from typing import NamedTuple

from launcher.address import Address
from launcher.task import TaskId

_SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "API_KEY")
_SECRET_ENDS = ("_KEY", "_PASS", "_AUTH", "_PAT", "_DSN")
MASK = "********"


class Mount(NamedTuple):
    """A folder that the container sees.

    source: an absolute path on the host, or the name of a Docker volume there; of a `synced`
        one the folder on the launching machine, of which the host gets a copy.
    """

    source: str
    target: str
    read_only: bool
    synced: bool = False


class Limits(NamedTuple):
    """What a container may use, in bytes and cores; None for no limit.

    ulimits: name → (soft, hard), -1 for no limit.
    """

    shm_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    ulimits: Mapping[str, tuple[int, int]] = {}


class Container(NamedTuple):
    """One task, ready to be started.

    argv: the program and its arguments, never a shell line.
    env: variables set on top of what the host gives; those that follow from the task's place in
        the plan (TF_CONFIG, CUDA_VISIBLE_DEVICES) are added by `Plan.env`.
    gpus: device ids on the host; empty means that the task sees no GPU.
    output_dir: where the task writes its results, absolute on its own side.
    image: None for a process.
    """

    task: TaskId
    host: str
    address: Address
    gpus: tuple[str, ...]
    argv: tuple[str, ...]
    env: Mapping[str, str]
    work_dir: str
    output_dir: str
    image: str | None = None
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()


def is_secret(key: str) -> bool:
    """Whether an environment variable's name says that its value is not for showing."""
    name = key.upper()
    return name.endswith(_SECRET_ENDS) or any(word in name for word in _SECRET_WORDS)


def masked(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` for showing: what looks secret is masked."""
    return {key: MASK if is_secret(key) else value for key, value in env.items()}
