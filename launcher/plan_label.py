"""The plan of a run as a label on each of its containers, by which any machine takes the run up.

It holds no env values, secrets (but their names) or paths of the machine that it was made on; what
else another attempt needs is in the configuration of the earlier one's container.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from launcher.address import Address
from launcher.cluster import Backend, FailureKind, Restarts, Secret, Timeouts
from launcher.container import Container
from launcher.errors import HostError
from launcher.layout import (
    CHECKPOINT_DIR,
    CHECKPOINT_DIRS,
    CONTAINER_OUTPUT_DIR,
    Job,
    checkpoint_mount,
)
from launcher.plan import Plan, cluster_of
from launcher.strategy import Strategy
from launcher.task import TaskId


def written(plan: Plan) -> str:
    """Return what a label says of a plan."""
    tasks = {str(c.task): [c.host, str(c.address), list(c.gpus), c.work_dir] for c in plan.tasks}
    value = {
        "job": plan.job.name,
        "strategy": plan.strategy.value,
        "has_cluster": bool(plan.cluster),
        "network": plan.network,
        "checkpoint_dir": plan.checkpoint_dir,
        "timeouts": plan.timeouts._asdict(),
        "restarts": {**plan.restarts._asdict(), "on": [kind.value for kind in plan.restarts.on]},
        "tasks": tasks,
        "fixed_ports": [str(task) for task in plan.fixed_ports],
        "alike": [[str(task) for task in group] for group in _alike(plan)],
        "secrets": sorted(plan.secrets),
        "number": plan.number,
    }
    return json.dumps(value, separators=(",", ":"))


def read(run_id: str, label: str, run_dir: str) -> Plan:
    """Return the plan of a run by the label of one of its containers.

    run_dir: the run's folder on this machine.

    Raises:
        HostError: the label does not tell it, as where an older launcher made the container.
    """
    try:
        return _plan(run_id, json.loads(label), run_dir)
    except (KeyError, ValueError, TypeError, AttributeError):
        what = "its containers do not tell its plan; `launch collect` brings home what is there"
        raise HostError(f"{run_id}: {what}") from None


def read_all(run_id: str, labels: Collection[str], run_dir: str) -> Mapping[str, Plan]:
    """Return the plans of a run by those labels of its containers that tell one.

    Raises:
        HostError: none does.
    """
    plans, problem = {}, None
    for label in labels:
        try:
            plans[label] = read(run_id, label, run_dir)
        except HostError as error:
            problem = error
    if problem and not plans:
        raise problem
    return plans


def _plan(run_id: str, said: Mapping[str, Any], run_dir: str) -> Plan:
    tasks = tuple(_container(TaskId.parse(task), *of) for task, of in said["tasks"].items())
    restarts = said["restarts"]
    kinds = tuple(map(FailureKind, restarts["on"]))
    return Plan(
        run_id=run_id,
        job=Job(str(said["job"]), None, (), ""),
        backend=Backend.DOCKER,
        strategy=Strategy(said["strategy"]),
        cluster=cluster_of(tasks) if said["has_cluster"] else {},
        tasks=tasks,
        timeouts=Timeouts(**said["timeouts"]),
        run_dir=run_dir,
        checkpoint_dir=str(said["checkpoint_dir"]),
        network=str(said["network"]),
        restarts=Restarts(**{**restarts, "on": kinds}),
        fixed_ports=tuple(map(TaskId.parse, said.get("fixed_ports", ()))),
        alike=tuple(tuple(map(TaskId.parse, group)) for group in said.get("alike", ())),
        secrets={str(name): Secret() for name in said.get("secrets", ())},
        number=int(said.get("number", 0)),
    )


def _container(
    task: TaskId, host: str, address: str, gpus: Iterable[str], work_dir: str
) -> Container:
    return Container(
        task=task,
        host=host,
        address=Address.parse(address),
        gpus=tuple(gpus),
        argv=(),
        env={},
        work_dir=work_dir,
        output_dir=CONTAINER_OUTPUT_DIR,
    )


def _alike(plan: Plan) -> tuple[tuple[TaskId, ...], ...]:
    """Return the groups of tasks that differ in their places alone: each can stand for another.

    Whether a task sees its host's checkpoints follows from its place in the cluster.
    """
    if plan.alike:
        return plan.alike
    checkpoints = checkpoint_mount(plan.run_id)
    dirs = [(CHECKPOINT_DIR, path) for path in CHECKPOINT_DIRS]
    groups: dict[str, list[TaskId]] = {}
    for c in plan.tasks:
        mounts = [m for m in c.mounts if m.target != c.output_dir and m != checkpoints]
        env = [entry for entry in sorted(c.env.items()) if entry not in dirs]
        same = repr((c.argv, env, c.limits, mounts, c.work_dir, len(c.gpus)))
        groups.setdefault(same, []).append(c.task)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
