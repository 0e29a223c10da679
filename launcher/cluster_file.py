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
    Port,
    Range,
    Restarts,
    Timeouts,
    Volume,
)
from launcher.strategy import Strategy
from launcher.task import TaskType

TaskCount = Annotated[int, Range(1, 100_000)]
OldForm = Mapping[str, Any]  # a cluster as in a TF_CONFIG, which `launcher.tf_config` reads


class TaskGroup(NamedTuple):
    """The tasks of one type.

    count: How many; default: as many as `hosts` names, else 1.
    host: The one host on which all stand.
    hosts: Hosts to take in turn. Without host and hosts: the host with most free GPUs first.
    port: The port of the first one on each host; the next on that host takes the next port
        (without host and hosts: the next one wherever it stands). Without it: free ports.
    gpus: How many GPUs each one gets.
    env: Environment variables for these tasks alone.
    args: Arguments for these tasks alone, before those of the command line; behind a plain
        command.
    """

    count: TaskCount | None = None  # type: ignore[assignment]  # hides tuple.count
    host: str | None = None
    hosts: tuple[str, ...] | None = None
    port: Port | None = None
    gpus: Gpus = 0
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
        `tasks` beside it may give only gpus, env and args.
    data: The training data.
    volumes: More folders of the hosts for containers to see.
    checkpoints: A folder that all hosts share, for the checkpoints of runs.
    env: Environment variables of every task.
    restarts: How often what fails is started again.
    timeouts: How long a run waits for what, in seconds.
    python: The Python that runs trainers; default: the launcher's own for processes, `python`
        in containers.
    code: The folder to copy into containers with the trainer; default: the trainer's file alone.
    allow_public: Accept addresses that the whole internet can reach. TensorFlow's servers take
        commands from anyone who reaches them.
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
    allow_public: bool = False
