"""The plan of a run as a label on each of its containers, by which any machine takes the run up.

It holds no env values, secrets or paths of the machine that it was made on; what else another
attempt needs is in the configuration of the earlier one's container.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from launcher.address import Address
from launcher.cluster import Backend, FailureKind, Restarts, Timeouts
from launcher.container import Container
from launcher.errors import HostError
from launcher.layout import CONTAINER_OUTPUT_DIR, Job
from launcher.plan import Plan
from launcher.strategy import Strategy
from launcher.task import TaskId, TaskType
from launcher.tf_config import Cluster


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


def _plan(run_id: str, said: Mapping[str, Any], run_dir: str) -> Plan:
    tasks = tuple(_container(TaskId.parse(task), *of) for task, of in said["tasks"].items())
    restarts = said["restarts"]
    kinds = tuple(map(FailureKind, restarts["on"]))
    return Plan(
        run_id=run_id,
        job=Job(str(said["job"]), None, (), ""),
        backend=Backend.DOCKER,
        strategy=Strategy(said["strategy"]),
        cluster=_cluster(tasks) if said["has_cluster"] else {},
        tasks=tasks,
        timeouts=Timeouts(**said["timeouts"]),
        run_dir=run_dir,
        checkpoint_dir=str(said["checkpoint_dir"]),
        network=str(said["network"]),
        restarts=Restarts(**{**restarts, "on": kinds}),
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


def _cluster(tasks: Iterable[Container]) -> Cluster:
    of_type: dict[TaskType, list[str]] = {}
    for container in tasks:
        of_type.setdefault(container.task.type, []).append(str(container.address))
    return {task_type: tuple(addresses) for task_type, addresses in of_type.items()}
