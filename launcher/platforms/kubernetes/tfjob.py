"""A run as a TFJob (kubeflow.org/v1), for clusters that run Kubeflow's training operator.

The operator writes each task's TF_CONFIG, in a form of its own that `launch exec` makes right: it
names `environment`, and leaves the evaluator out of the evaluator's own cluster. What it does not
know is set so that nothing of a run is lost: it ends a job with its chief, workers or not.
"""

from collections.abc import Iterator
from typing import Any

from launcher import strategy as rules
from launcher.cluster import FailureKind
from launcher.platforms.kubernetes.pod import PORT, Run, template, whole
from launcher.platforms.kubernetes.settings import MOST
from launcher.strategy import Strategy
from launcher.task import TaskType

API_VERSION, KIND, PLURAL = "kubeflow.org/v1", "TFJob", "tfjobs"
INDEX_LABEL = "training.kubeflow.org/replica-index"
_REPLICAS = {
    TaskType.CHIEF: "Chief",
    TaskType.WORKER: "Worker",
    TaskType.PS: "PS",
    TaskType.EVALUATOR: "Evaluator",
}


def objects(run: Run) -> Iterator[dict[str, Any]]:
    """Yield the TFJob of a run."""
    spec = run.spec
    chief = rules.chief([each.id for each in spec.tasks])
    address = f"{run.name}-{chief.slug}:{PORT}" if chief else ""
    replicas = {
        _REPLICAS[task_type]: {
            "replicas": len(tasks),
            "restartPolicy": _restart_policy(run),
            "template": template(
                run, task_type, index=f"metadata.labels['{INDEX_LABEL}']", chief=address,
                exec_first=True,
            ),
        }
        for task_type, tasks in run.tasks.items()
    }  # fmt: skip
    yield {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": run.metadata(),
        "spec": {
            "runPolicy": _run_policy(run),
            "successPolicy": _success_policy(run),
            "tfReplicaSpecs": replicas,
        },
    }


def _run_policy(run: Run) -> dict[str, Any]:
    """Return the limits of the whole job.

    Pods that still run are ended with the chief under parameter_server alone: tasks that train
    together end one after the other, each with something to write.
    """
    spec = run.spec
    serves = spec.strategy is Strategy.PARAMETER_SERVER
    run_s = spec.timeouts.run_s
    limits = {
        "activeDeadlineSeconds": None if run_s is None else whole(run_s),
        "ttlSecondsAfterFinished": run.settings.keep_s,
    }
    return {
        "cleanPodPolicy": "Running" if serves else "None",
        # The operator counts all containers' restarts together, and a gang's come together.
        "backoffLimit": min(spec.restarts.max * (1 if serves else len(spec.tasks)), MOST),
        **{key: value for key, value in limits.items() if value is not None},
    }


def _success_policy(run: Run) -> str:
    """Return who decides: all workers where they train together, else the chief."""
    return "AllWorkers" if run.spec.strategy is Strategy.MULTI_WORKER_MIRRORED else ""


def _restart_policy(run: Run) -> str:
    """Return when a container is started again.

    Not `ExitCode` where a task's own failure is one to restart after: the operator takes the codes
    1 to 127 for permanent, and a task whose peer was lost ends with 1.
    """
    restarts = run.spec.restarts
    if restarts.max and FailureKind.EXIT in restarts.on:
        return "OnFailure"
    return "ExitCode" if restarts.max and FailureKind.SIGNAL in restarts.on else "Never"
