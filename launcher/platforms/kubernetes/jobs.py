"""A run as Kubernetes' own objects: one Indexed Job a task type, and a Service for their names.

Each pod is found as RUN-TYPE-INDEX.RUN, whatever node it is on and however often it was replaced.
TF_CONFIG is text in the manifest; Kubernetes itself writes the index into it.
"""

from collections.abc import Iterator
from typing import Any

from launcher import strategy as rules
from launcher.cluster import FailureKind
from launcher.platforms.kubernetes.names import literal
from launcher.platforms.kubernetes.pod import (
    DECIDES,
    PORT,
    RUN,
    TASK,
    TASK_INDEX,
    Run,
    template,
    whole,
)
from launcher.platforms.kubernetes.settings import MOST
from launcher.strategy import Role, Strategy
from launcher.task import TaskId, TaskType
from launcher.tf_config import Cluster, TfConfig

_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_SAVED = 42  # the code of a task that stopped as asked, with its state saved
_SIGNALS = [128 + number for number in range(1, 32)]


def objects(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the Service and the Jobs of a run."""
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": run.metadata(),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # tasks look for each other before they are ready
            "selector": {RUN: run.name},
            "ports": [{"name": "tensorflow", "port": PORT}],
        },
    }
    cluster = _cluster(run)
    for task_type in run.tasks:
        yield _job(run, task_type, cluster)


def _cluster(run: Run) -> Cluster:
    return {
        task_type: tuple(f"{run.name}-{t.id.slug}.{run.name}:{PORT}" for t in tasks)
        for task_type, tasks in run.tasks.items()
    }


def _job(run: Run, task_type: TaskType, cluster: Cluster) -> dict[str, Any]:
    spec, count = run.spec, len(run.tasks[task_type])
    task = TaskId(task_type, 0)
    decides = rules.decides(spec.strategy, task)
    labels = {TASK: task_type.value, DECIDES: str(decides).lower()}
    run_s = spec.timeouts.run_s
    limits = {
        "activeDeadlineSeconds": None if run_s is None else whole(run_s),
        "ttlSecondsAfterFinished": run.settings.keep_s,
    }
    chief = rules.chief([each.id for each in spec.tasks])
    address = cluster[chief.type][chief.index] if chief else ""
    pod = template(
        run, task_type, index=_INDEX, chief=address, exec_first=False,
        restartPolicy="Never", subdomain=run.name,
    )  # fmt: skip
    text = _tf_config(TfConfig.for_task(cluster, task, spec.strategy))
    pod["spec"]["containers"][0]["env"].append({"name": "TF_CONFIG", "value": text})
    job = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "backoffLimitPerIndex": min(spec.restarts.max, MOST),
        **({} if _goes_on_without(spec.strategy, task) else {"maxFailedIndexes": 0}),
        **{key: value for key, value in limits.items() if value is not None},
        "podReplacementPolicy": "Failed",  # a task never stands twice
        "podFailurePolicy": {"rules": list(_failure_rules(run))},
        "template": pod,
    }
    metadata = run.metadata(f"{run.name}-{task_type.value}", **labels)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}


def _tf_config(config: TfConfig) -> str:
    return literal(config.to_json()).replace('"index": 0', f'"index": $({TASK_INDEX})')


def _goes_on_without(strategy: Strategy, task: TaskId) -> bool:
    """Whether the others of a type go on where one of them has failed for good."""
    return rules.role(strategy, task.type) is Role.SERVE and task.type is TaskType.WORKER


def _failure_rules(run: Run) -> Iterator[dict[str, Any]]:
    """Yield what each way to fail means; the first that fits counts, else it is a restart."""
    on = run.spec.restarts.on
    disruption = [{"type": "DisruptionTarget", "status": "True"}]
    lost = "Ignore" if FailureKind.HOST in on else "FailJob"
    yield {"action": lost, "onPodConditions": disruption}
    yield _on_codes("Ignore", "In", [_SAVED])  # it goes on from there, at no cost
    yield _on_codes("FailJob", "In", [2])  # what it was given is wrong: again it would be too
    if FailureKind.SIGNAL not in on:
        yield _on_codes("FailJob", "In", _SIGNALS)
    if FailureKind.EXIT not in on:
        yield _on_codes("FailJob", "NotIn", [_SAVED, *_SIGNALS])


def _on_codes(action: str, operator: str, codes: list[int]) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": operator, "values": codes}}
