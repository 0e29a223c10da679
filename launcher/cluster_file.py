"""The keys of cluster.yaml, as types: what users may write, before anything is checked against it.

The `key: text` lines of each docstring are the reference that users read, as in
`launcher.cluster`, which holds what both know.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from launcher.cluster import (
    AbsolutePath,
    Backend,
    Data,
    Env,
    Form,
    Gpus,
    Host,
    ImageTransfer,
    Port,
    Range,
    Restarts,
    Secret,
    Size,
    Timeouts,
    Volume,
)
from launcher.strategy import Strategy
from launcher.task import TaskType

Cpus = Annotated[float, Range(0.01)]
Secrets = Mapping[str, Secret]
TaskCount = Annotated[int, Range(1, 100_000)]
Platforms = Mapping[str, dict[str, Any]]  # of which each platform reads its own part
OldForm = Mapping[str, Any]  # a cluster as in a TF_CONFIG, which `launcher.tf_config` reads


class TaskGroup(NamedTuple):
    """The tasks of one type.

    count: How many; default: as many as `hosts` names, else 1.
    host: The one host on which all stand.
    hosts: Hosts to take in turn. Without host and hosts: the host with most free GPUs first.
    port: The port of the first one on each host; the next on that host takes the next port
        (without host and hosts: the next one wherever it stands). Without it: free ports.
    gpus: How many GPUs each one gets.
    memory: The most memory that each one's container may use.
    cpus: The most CPU time that each one's container may use, in cores.
    env: Environment variables for these tasks alone.
    args: Arguments for these tasks alone, before those of the command line; behind a plain
        command.
    """

    count: TaskCount | None = None  # type: ignore[assignment]  # hides tuple.count
    host: str | None = None
    hosts: tuple[str, ...] | None = None
    port: Port | None = None
    gpus: Gpus = 0
    memory: Size | None = None
    cpus: Cpus | None = None
    env: Env = {}
    args: tuple[Annotated[str, Form.SCALAR], ...] = ()


class ClusterFile(NamedTuple):
    """cluster.yaml: which tasks run where, and how.

    name: Begins the name of each run. Default: the trainer's name.
    backend: What starts the tasks; default: docker when `image` is set, else process.
    image: The Docker image of every task.
    strategy: How to train; `auto` is parameter_server when there are ps tasks.
    hosts: The machines by name. Without it: this machine alone.
    tasks: The tasks by type.
    cluster: The old form, as in a TF_CONFIG: task type (master too) to a list of host:port.
        `tasks` beside it may say no count, hosts and ports.
    data: The training data.
    volumes: More folders of the hosts for containers to see.
    checkpoints: A folder that all hosts share, for the checkpoints of runs; without it they are
        copied home as a run goes on.
    env: Environment variables of every task.
    restarts: How often what fails is started again.
    timeouts: How long a run waits for what, in seconds.
    python: The Python that runs trainers; default: the launcher's own for processes, `python`
        in containers.
    code: The folder to copy into containers with the trainer; default: the trainer's file alone.
    image_transfer: How the image reaches hosts that lack it; auto: pulled where its registry
        answers, else shipped from this machine, only the layers that a host lacks.
    secrets: Files for containers below /run/secrets, by name.
    shm_size: The size of each container's /dev/shm.
    memory: The most memory that a container may use.
    cpus: The most CPU time that a container may use, in cores.
    ulimits: Limits of each container by name, `NUMBER` or `SOFT:HARD`, -1 for none.
    nccl_interface: The network interface for NCCL ($NCCL_SOCKET_IFNAME).
    allow_public: Accept addresses that the whole internet can reach. TensorFlow's servers take
        commands from anyone who reaches them.
    platforms: What `launch submit` needs to know of each platform, by its name.
    """

    name: Annotated[str, Form.NAME] | None = None
    backend: Backend | None = None
    image: str | None = None
    strategy: Strategy = Strategy.AUTO
    hosts: Mapping[str, Host] | None = None
    tasks: Mapping[TaskType, TaskGroup | None] | None = None
    cluster: OldForm | None = None
    data: Data | None = None
    volumes: tuple[Volume, ...] = ()
    checkpoints: AbsolutePath | None = None
    env: Env = {}
    restarts: Restarts = Restarts()
    timeouts: Timeouts = Timeouts()
    python: str | None = None
    code: str | None = None
    image_transfer: ImageTransfer = ImageTransfer.AUTO
    secrets: Secrets = {}
    shm_size: Size = "1g"
    memory: Size | None = None
    cpus: Cpus | None = None
    ulimits: Env = {}
    nccl_interface: str | None = None
    allow_public: bool = False
    platforms: Platforms = {}
