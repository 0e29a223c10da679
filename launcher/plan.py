"""From what was asked for to what will be started, decided in full and without touching a thing.

`plan` is a function of its arguments: the spec, the job, and the facts that were read from the
hosts before. `--dry-run` prints the very value that a run executes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from launcher import placement
from launcher import strategy as rules
from launcher.address import Address
from launcher.cluster import (
    Backend,
    ClusterSpec,
    Host,
    ImageTransfer,
    Restarts,
    Secret,
    Ssh,
    Task,
    Timeouts,
)
from launcher.container import Container, masked
from launcher.layout import (
    CONTAINER_CHECKPOINT_DIR,
    CONTAINER_OUTPUT_DIR,
    Job,
    Layout,
)
from launcher.placed import Placed
from launcher.placement import HostFacts
from launcher.strategy import Role, Strategy
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType
from launcher.tf_config import Cluster, TfConfig

HOST_NETWORK = "host"


class Plan(NamedTuple):
    """One run, decided.

    cluster: every task's `host:port`, the evaluator's too; empty for a single task without
        TF_CONFIG.
    tasks: in the order chief, worker, ps, evaluator and by index.
    run_dir: absolute path on this machine.
    checkpoint_dir: the folder for checkpoints, as the chief and the evaluator see it.
    network: Docker's network of the containers: `host`, or the name of the run's own bridge;
        nothing for processes.
    code: the folder of this machine to copy into containers, None for the script alone.
    hosts: the machines of the tasks, by name.
    fixed_ports: the tasks whose port the file gives.
    alike: groups of tasks that differ in their places alone, where only a label tells of them.
    number: how many plans of the run there were before.
    """

    run_id: str
    job: Job
    backend: Backend
    strategy: Strategy
    cluster: Cluster
    tasks: tuple[Container, ...]
    timeouts: Timeouts
    run_dir: str
    checkpoint_dir: str
    notes: tuple[str, ...] = ()
    network: str = ""
    hosts: Mapping[str, Host] = {}
    code: str | None = None
    secrets: Mapping[str, Secret] = {}
    image_transfer: ImageTransfer = ImageTransfer.AUTO
    restarts: Restarts = Restarts()
    fixed_ports: tuple[TaskId, ...] = ()
    alike: tuple[tuple[TaskId, ...], ...] = ()
    number: int = 0

    @property
    def see_checkpoints(self) -> tuple[TaskId, ...]:
        """The two tasks that alone see their host's volume for checkpoints; none where all do."""
        apart = self.network == HOST_NETWORK and self.checkpoint_dir == CONTAINER_CHECKPOINT_DIR
        return (self.tasks[0].task, EVALUATOR) if apart else ()

    def tf_config(self, task: TaskId) -> TfConfig | None:
        """Return what a task is told of its cluster, or None in a run without a cluster."""
        return TfConfig.for_task(self.cluster, task, self.strategy) if self.cluster else None

    def env(self, container: Container) -> Mapping[str, str]:
        """Return a task's whole environment on top of the host's, TF_CONFIG included.

        A task without GPUs sees none. One in a container sees just those that the container was
        given, under numbers of their own.
        """
        env = dict(container.env)
        if self.backend is Backend.PROCESS or not container.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(container.gpus)
        if self.backend is Backend.PROCESS and container.gpus:
            env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi numbers them
        if self.backend is Backend.DOCKER and not container.gpus:
            env["NVIDIA_VISIBLE_DEVICES"] = "void"  # where NVIDIA's runtime is the default one
        config = self.tf_config(container.task)
        if config:
            env["TF_CONFIG"] = config.to_json()
        return env

    def of_tasks(self, tasks: tuple[Container, ...]) -> "Plan":
        """Return the plan with its tasks elsewhere."""
        return self._replace(tasks=tasks, cluster=cluster_of(tasks) if self.cluster else {})

    def role(self, task: TaskId) -> Role:
        """Return the role that a task plays."""
        return rules.role(self.strategy, task.type)

    def log_path(self, task: TaskId, attempt: int) -> str:
        """Return the file that holds all that one attempt of a task prints."""
        return f"{self.run_dir}/logs/{task.slug}.{attempt}.log"

    def at_home(self, task: TaskId, path: str) -> str:
        """Return where a path that a task names lies on this machine once the run is over."""
        if self.backend is Backend.PROCESS:
            return path
        for inside, home in (
            (CONTAINER_OUTPUT_DIR, f"{self.run_dir}/output/{task.slug}"),
            (CONTAINER_CHECKPOINT_DIR, f"{self.run_dir}/checkpoints"),
        ):
            if path == inside or path.startswith(f"{inside}/"):
                return home + path.removeprefix(inside)
        return path

    def to_dict(self) -> dict[str, object]:
        """Return the plan for showing and for plan.json; secret values are masked."""
        tasks = [
            {
                "task": str(c.task),
                "role": self.role(c.task).value,
                "host": c.host,
                "address": str(c.address),
                "gpus": list(c.gpus),
                "argv": list(c.argv),
                "env": masked(self.env(c)),
                "work_dir": c.work_dir,
                "output_dir": c.output_dir,
                "log": self.log_path(c.task, 1),
                "image": c.image,
                "mounts": [mount._asdict() for mount in c.mounts],
            }
            for c in self.tasks
        ]
        return {
            "run": self.run_id,
            "job": self.job.name,
            "backend": self.backend.value,
            "strategy": self.strategy.value if self.cluster else None,
            "run_dir": self.run_dir,
            "checkpoint_dir": self.checkpoint_dir,
            "timeouts": self.timeouts._asdict(),
            "restarts": {
                **self.restarts._asdict(),
                "on": [kind.value for kind in self.restarts.on],
            },
            "notes": list(self.notes),
            "tasks": tasks,
            **(self._of_containers() if self.backend is Backend.DOCKER else {}),
        }

    def _of_containers(self) -> dict[str, object]:
        return {
            "network": self.network,
            "hosts": {name: written(host) for name, host in self.hosts.items()},
            "code": self.code,
            "secrets": sorted(self.secrets),
            "image_transfer": self.image_transfer.value,
            "limits": {str(c.task): c.limits._asdict() for c in self.tasks},
        }


def plan(
    spec: ClusterSpec,
    job: Job,
    run_id: str,
    facts: Mapping[str, HostFacts],
    *,
    run_dir: str,
    python: str,
) -> Plan:
    """Return the plan of one run of `job` on the cluster `spec`.

    facts: by host name; a host without facts has no free port and, under `gpus: auto`, no GPU.
    run_dir: absolute; nothing is made there.
    python: the interpreter for processes where the spec names none.

    Raises:
        InputError: the tasks do not fit on the hosts.
    """
    hosts = placement.hosts_of(spec, facts)
    gpus = placement.device_ids(spec, hosts, facts)
    network = _network(spec, run_id)
    if network in ("", HOST_NETWORK):
        addresses = tuple(placement.addresses(spec, hosts, facts))
    else:
        addresses = tuple(placement.named(spec))
    layout = Layout.of(spec, job, run_id, run_dir, python)
    placed = Placed(spec, job, run_id, layout, layout.env(spec, run_id))
    containers = tuple(
        placed.container(task, host, address, ids)
        for task, host, address, ids in zip(spec.tasks, hosts, addresses, gpus, strict=True)
    )
    return _of(placed, containers, run_dir, network, cluster_of(containers))


def plan_single(
    job: Job,
    run_id: str,
    gpus: Sequence[str],
    *,
    run_dir: str,
    python: str,
    host: str,
    image: str | None = None,
) -> Plan:
    """Return the plan of one task without a cluster: it sees at most the first of `gpus`.

    It runs in a container of `image`, as a process where there is none.
    """
    task = Task(CHIEF, host, None, min(1, len(gpus)), {}, ())
    backend = Backend.DOCKER if image else Backend.PROCESS
    hosts = {host: Host("127.0.0.1")}
    spec = ClusterSpec(backend, Strategy.MULTI_WORKER_MIRRORED, hosts, (task,), image=image)
    layout = Layout.of(spec, job, run_id, run_dir, python)
    env = {k: v for k, v in layout.env(spec, run_id).items() if k != "LAUNCH_STRATEGY"}
    placed = Placed(spec, job, run_id, layout, env)
    container = placed.container(task, host, Address("127.0.0.1", 0), tuple(gpus[:1]))
    return _of(placed, (container,), run_dir, _network(spec, run_id), {})


def written(host: Host) -> dict[str, object]:
    """Return a host as cluster.yaml has it, without what has no value."""
    ssh = {key: value for key, value in (host.ssh or Ssh())._asdict().items() if value is not None}
    written = {**host._asdict(), "gpus": host.gpus, "ssh": ssh if host.ssh else None}
    return {key: value for key, value in written.items() if value is not None}


def _network(spec: ClusterSpec, run_id: str) -> str:
    """Return the network of a run: a bridge of its own where it stays on one engine."""
    if spec.backend is Backend.PROCESS:
        return ""
    return f"launch-{run_id}" if spec.is_here else HOST_NETWORK


def _of(
    placed: Placed,
    containers: tuple[Container, ...],
    run_dir: str,
    network: str,
    cluster: Cluster,
) -> Plan:
    """Return the plan of these containers."""
    spec = placed.spec
    return Plan(
        run_id=placed.run_id,
        job=placed.job,
        backend=spec.backend,
        strategy=spec.strategy,
        cluster=cluster,
        tasks=containers,
        timeouts=spec.timeouts,
        run_dir=run_dir,
        checkpoint_dir=placed.layout.checkpoint_dir,
        notes=spec.notes,
        network=network,
        hosts={name: spec.hosts[name] for name in dict.fromkeys(c.host for c in containers)},
        code=spec.code,
        secrets=spec.secrets,
        image_transfer=spec.image_transfer,
        restarts=spec.restarts,
        fixed_ports=tuple(task.id for task in spec.tasks if task.port),
    )


def cluster_of(containers: Iterable[Container]) -> Cluster:
    """Return the addresses of tasks by their types."""
    of_type: dict[TaskType, list[str]] = {}
    for container in containers:
        of_type.setdefault(container.task.type, []).append(str(container.address))
    return {task_type: tuple(listed) for task_type, listed in of_type.items()}
