"""What the user asked for, checked: hosts, tasks and settings of one cluster, as frozen values.

These are the types of cluster.yaml itself as far as the file says a thing the way we keep it.
Each docstring's `key: text` lines are the reference that users read (docs/cluster-yaml.md, the
JSON Schema), so they speak to users. Nothing here reads a file or a host.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from launcher import names
from launcher.address import Address, is_loopback
from launcher.strategy import Strategy
from launcher.task import TaskId


class Range(NamedTuple):
    """The least and the greatest value that a number may have."""

    least: int
    most: float = float("inf")


class Form(StrEnum):
    """How a text must look."""

    NAME = names.RULE
    ABSOLUTE_PATH = "an absolute path"
    SCALAR = "a text or number"
    ENV_NAME = "the name of an environment variable"
    SIZE = "a size such as 512m or 4g"


Count = Annotated[int, Range(0)]
Gpus = Annotated[int, Range(0, 1024)]  # far above any host's; each id is spelled out
Seconds = Annotated[float, Range(0)]
OrphanSeconds = Annotated[float, Range(3)]
Port = Annotated[int, Range(1, 65535)]
AbsolutePath = Annotated[str, Form.ABSOLUTE_PATH]
Scalar = Annotated[str, Form.SCALAR]
Env = Mapping[str, Scalar]
Size = Annotated[str, Form.SIZE]


class Backend(StrEnum):
    """What starts the tasks."""

    PROCESS = "process"
    DOCKER = "docker"


class ImageTransfer(StrEnum):
    """How an image reaches the hosts that lack it."""

    AUTO = "auto"  #: pulled where its registry answers, else shipped
    PULL = "pull"  #: by each host from the registry in its name
    SHIP = "ship"  #: from this machine, over the SSH connection


class Ssh(NamedTuple):
    """How this machine reaches a host; ~/.ssh/config is read too.

    host: The name or address to connect to, where it differs from the host's `address`.
    user: The user to log in as.
    port: The port of its sshd.
    identity_file: The private key to use.
    """

    host: str | None = None
    user: str | None = None
    port: Port | None = None
    identity_file: str | None = None


class Host(NamedTuple):
    """A machine. One with a loopback address and no `ssh` is this machine.

    address: The name or IP address at which the other hosts' tasks reach it.
    gpus: How many GPUs it lends: a number, a list of ids or UUIDs, or `auto` to ask nvidia-smi.
    ssh: How to log in. Without it, as `ssh ADDRESS` would.
    docker_socket: Where its Docker Engine listens; on this machine $DOCKER_HOST is read too.
    nccl_interface: Its network interface for NCCL, where it differs from the cluster's.
    """

    address: str
    gpus: Gpus | tuple[Count | str, ...] | Literal["auto"] = 0
    ssh: Ssh | None = None
    docker_socket: AbsolutePath | None = None
    nccl_interface: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether this is the machine that the launcher runs on."""
        return self.ssh is None and is_loopback(self.address)

    @property
    def gpu_ids(self) -> tuple[str, ...] | None:
        """The ids of the GPUs that the file lends, or None when only the host knows."""
        if self.gpus == "auto":
            return None
        if isinstance(self.gpus, int):
            return tuple(map(str, range(self.gpus)))
        return tuple(map(str, self.gpus))


class Data(NamedTuple):
    """The training data: either `path` or `sync`.

    path: The folder on the hosts that holds it.
    sync: A folder of this machine, of which each host gets a copy once, into a Docker volume;
        later runs use it again as long as its content is the same.
    at: Where a container sees it; processes use `path` itself.
    read_only: Whether tasks may only read it.
    """

    path: AbsolutePath | None = None
    sync: str | None = None
    at: AbsolutePath = "/data/data"
    read_only: bool = True


class Volume(NamedTuple):
    """A folder of the hosts that containers see.

    path: The folder on the hosts.
    at: Where a container sees it.
    read_only: Whether tasks may only read it.
    """

    path: AbsolutePath
    at: AbsolutePath
    read_only: bool = False


class Secret(NamedTuple):
    """What a task may know and nobody else: either `file` or `env`.

    file: The file of this machine that holds it.
    env: The environment variable of this machine that holds it.
    """

    file: str | None = None
    env: str | None = None


class FailureKind(StrEnum):
    """How a task can fail."""

    EXIT = "exit"  #: it ended with an exit code of its own
    SIGNAL = "signal"  #: something killed it
    HOST = "host"  #: its host cannot be reached any more
    STALLED = "stalled"  #: it made no progress


class Restarts(NamedTuple):
    """How often what fails is started again.

    max: How many restarts a run may use without having made progress.
    backoff_s: Seconds before the second restart (the first is immediate); doubled for each more.
    on: After which failures: `exit` (its own exit code), `signal` (it was killed), `host` (its
        host is lost), `stalled` (no progress).
    move: Whether tasks of a lost host move to others in the file that have room.
    """

    max: Count = 3
    backoff_s: Seconds = 5.0
    on: tuple[FailureKind, ...] = tuple(FailureKind)
    move: bool = False


class Timeouts(NamedTuple):
    """How long a run waits for what, in seconds.

    start_s: For the cluster to form.
    stalled_s: For the next training step; null waits for ever.
    run_s: For the whole run; null sets no limit.
    grace_s: After SIGTERM, for a task to end by itself before SIGKILL.
    orphan_s: For a launcher that is gone, or cannot reach a host, to come back; then tasks there
        end by themselves. null: they go on. Containers need /bin/sh for it.
    """

    start_s: Seconds = 300.0
    stalled_s: Seconds | None = None
    run_s: Seconds | None = None
    grace_s: Seconds = 30.0
    orphan_s: OrphanSeconds | None = None


class Place(NamedTuple):
    """Where a task stands already, with the GPUs that it has there."""

    host: str
    address: Address
    device_ids: tuple[str, ...]


class Task(NamedTuple):
    """One task as asked for: where it may stand and what it needs. `host` None: anywhere.

    place: the one that it keeps, whatever was asked for.
    """

    id: TaskId
    host: str | None
    port: int | None
    gpus: int
    env: Mapping[str, str]
    args: tuple[str, ...]
    memory: str | None = None
    cpus: float | None = None
    place: Place | None = None


class Source(NamedTuple):
    """The file that a spec was read from, and the line on which each key path stands."""

    path: str = ""
    lines: Mapping[str, int] = {}

    def where(self, key_path: str) -> str:
        """Return `cluster.yaml:14 hosts.gpu1` for the nearest key path that has a line."""
        shown, path = key_path, key_path
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        line = self.lines.get(path)
        at = f"{self.path}:{line}" if line else self.path
        return f"{at} {shown}".strip()


class ClusterSpec(NamedTuple):
    """A cluster, checked: every name resolves, counts and strategy agree.

    tasks are in the order chief, worker, ps, evaluator and by index; `strategy` is resolved.
    lost: hosts that get no task any more.
    """

    backend: Backend
    strategy: Strategy
    hosts: Mapping[str, Host]
    tasks: tuple[Task, ...]
    name: str = ""
    image: str | None = None
    data: Data | None = None
    volumes: tuple[Volume, ...] = ()
    checkpoints: str | None = None
    env: Mapping[str, str] = {}
    restarts: Restarts = Restarts()
    timeouts: Timeouts = Timeouts()
    python: str | None = None
    code: str | None = None
    image_transfer: ImageTransfer = ImageTransfer.AUTO
    secrets: Mapping[str, Secret] = {}
    shm_size: str = "1g"
    memory: str | None = None
    cpus: float | None = None
    ulimits: Mapping[str, str] = {}
    nccl_interface: str | None = None
    source: Source = Source()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether every host that may get a task is this machine."""
        named = {task.host for task in self.tasks}
        used = self.hosts.values() if None in named else [self.hosts[n] for n in named if n]
        return all(host.is_here for host in used)

    @property
    def in_words(self) -> str:
        """What the file asks for, in a line: `3 tasks, process, multi_worker_mirrored`."""
        tasks = f"{len(self.tasks)} task{'s' if len(self.tasks) > 1 else ''}"
        return f"{tasks}, {self.backend}, {self.strategy}"
