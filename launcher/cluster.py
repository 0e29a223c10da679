"""What the user asked for, checked: hosts, tasks and settings of one cluster, as frozen values.

These are the types of cluster.yaml itself as far as the file says a thing the way we keep it.
Each docstring's `key: text` lines are the reference that users read (docs/cluster-yaml.md, the
JSON Schema), so they speak to users. Nothing here reads a file or a host.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from launcher import names
from launcher.address import is_loopback
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


Count = Annotated[int, Range(0)]
Gpus = Annotated[int, Range(0, 1024)]  # far above any host's; each id is spelled out
Seconds = Annotated[float, Range(0)]
Port = Annotated[int, Range(1, 65535)]
AbsolutePath = Annotated[str, Form.ABSOLUTE_PATH]
Scalar = Annotated[str, Form.SCALAR]
Env = Mapping[str, Scalar]


class Backend(StrEnum):
    """What starts the tasks."""

    PROCESS = "process"
    DOCKER = "docker"


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
    """

    address: str
    gpus: Gpus | tuple[Count | str, ...] | Literal["auto"] = 0
    ssh: Ssh | None = None

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
    """The training data.

    path: The folder on the hosts that holds it.
    at: Where a container sees it; processes use `path` itself.
    read_only: Whether tasks may only read it.
    """

    path: AbsolutePath
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


class Restarts(NamedTuple):
    """How often what fails is started again.

    max: How many restarts a run may use without having made progress.
    backoff_s: Seconds before the second restart (the first is immediate); doubled for each more.
    """

    max: Count = 3
    backoff_s: Seconds = 5.0


class Timeouts(NamedTuple):
    """How long a run waits for what, in seconds.

    start_s: For the cluster to form.
    stalled_s: For the next training step; null waits for ever.
    run_s: For the whole run; null sets no limit.
    grace_s: After SIGTERM, for a task to end by itself before SIGKILL.
    """

    start_s: Seconds = 300.0
    stalled_s: Seconds | None = None
    run_s: Seconds | None = None
    grace_s: Seconds = 30.0


class Task(NamedTuple):
    """One task as asked for: where it may stand and what it needs. `host` None: anywhere."""

    id: TaskId
    host: str | None
    port: int | None
    gpus: int
    env: Mapping[str, str]
    args: tuple[str, ...]


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
    source: Source = Source()
    notes: tuple[str, ...] = ()
