"""How a run stands, from what Kubernetes says of its Jobs or its TFJob."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from launcher.platforms import State, Submitted
from launcher.platforms.kubernetes.pod import DECIDES, RUN, RUN_ID, TASK
from launcher.platforms.kubernetes.tfjob import INDEX_LABEL

_INDEX = "batch.kubernetes.io/job-completion-index"
Object = Mapping[str, Any]


def of_jobs(jobs: Sequence[Object], pods: Sequence[Object] = ()) -> Submitted:
    """Return a run that consists of Jobs, at least one."""
    deciding = [job for job in jobs if _labels(job).get(DECIDES) == "true"] or list(jobs)
    # A worker or ps that is given up fails the run, an evaluator does not.
    counting = [job for job in jobs if _labels(job).get(TASK) != "evaluator"]
    failed = [found for job in counting if (found := _condition(job, "Failed"))]
    ended = all(_condition(job, "Complete") for job in deciding)
    status = [job.get("status") or {} for job in jobs]
    active = sum(int(each.get("active") or 0) for each in status)
    ready = sum(int(each.get("ready") or 0) for each in status)
    leaving = sum(int(each.get("terminating") or 0) for each in status)
    suspended = any((job.get("spec") or {}).get("suspend") for job in jobs)
    said = ""
    if ended:
        state = State.SUCCEEDED
    elif failed:
        state, said = State.FAILED, str(failed[0].get("reason") or "")
    elif suspended:
        state = State.STOPPING if active or leaving else State.STOPPED
        said = "Suspended"
    else:
        wanted = sum(_wanted(job) for job in jobs if not has_ended(job))
        state = _forming(wanted, ready, pods)
    return _submitted(jobs[0], state, said, pods, failed)


def _wanted(job: Object) -> int:
    """Return how many pods of a Job ought to run."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    return int(spec.get("completions") or 0) - int(status.get("succeeded") or 0)


def _forming(wanted: int, ready: int, pods: Sequence[Object]) -> State:
    """Return the state of a run of which tasks are to run."""
    if ready and ready >= wanted:
        return State.RUNNING
    placed = any((pod.get("spec") or {}).get("nodeName") for pod in pods)
    return State.STARTING if ready or placed else State.PENDING


_OF_TFJOB = {
    "Created": State.PENDING,
    "Running": State.RUNNING,
    "Restarting": State.STARTING,
    "Succeeded": State.SUCCEEDED,
    "Failed": State.FAILED,
    "Suspended": State.STOPPED,
}


def of_tfjob(job: Object, pods: Sequence[Object] = ()) -> Submitted:
    """Return a run that is a TFJob."""
    conditions = (job.get("status") or {}).get("conditions") or []
    true = [each for each in conditions if each.get("status") == "True"]
    final = [each for each in true if each.get("type") in ("Succeeded", "Failed")]
    latest = (final or true)[-1:]
    said = str(latest[0].get("type") or "") if latest else ""
    state = _OF_TFJOB.get(said, State.UNKNOWN) if latest else State.PENDING
    run_policy = (job.get("spec") or {}).get("runPolicy") or {}
    if run_policy.get("suspend") and not state.is_final:
        state = State.STOPPING
    return _submitted(job, state, said, pods, latest if state is State.FAILED else [])


def _submitted(
    first: Object, state: State, said: str, pods: Sequence[Object], failed: Sequence[Object]
) -> Submitted:
    metadata, name = first.get("metadata") or {}, run_of(first)
    run_id = (metadata.get("annotations") or {}).get(RUN_ID) or name
    details = dict(map(_of_pod, _latest(pods)))
    if failed:
        details["why"] = str(failed[0].get("message") or "")
    since = _moment(metadata.get("creationTimestamp"))
    return Submitted(name, str(run_id), state, said, since, details)


def _latest(pods: Iterable[Object]) -> list[Object]:
    """Return the last pod of each task, in the order of the tasks."""
    latest = {task_of(pod): pod for pod in pods}
    return [latest[task] for task in sorted(latest, key=_order)]


def run_of(made: Object) -> str:
    """Return the job that an object belongs to."""
    return _labels(made).get(RUN) or str((made.get("metadata") or {}).get("name") or "")


def _order(task: str) -> tuple[str, int]:
    kind, _, index = task.partition(":")
    return kind, int(index) if index.isdecimal() else 0


def task_of(pod: Object) -> str:
    """Return the task that a pod is: `worker:0`."""
    labels = _labels(pod)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    index = annotations.get(_INDEX) or labels.get(_INDEX) or labels.get(INDEX_LABEL) or "0"
    return f"{labels.get(TASK) or '?'}:{index}"


def _of_pod(pod: Object) -> tuple[str, str]:
    """Return a task, and in words how its pod stands."""
    status = pod.get("status") or {}
    words = [str(status.get("phase") or "Unknown")]
    if node := (pod.get("spec") or {}).get("nodeName"):
        words.append(f"on {node}")
    for container in status.get("containerStatuses") or ():
        for how in (container.get("state") or {}).values():
            why = [str(how[key]) for key in ("reason", "message") if (how or {}).get(key)]
            if (how or {}).get("exitCode"):
                why.append(f"exit code {how['exitCode']}")
            words += why
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            words += [str(condition.get("reason") or ""), str(condition.get("message") or "")]
    return task_of(pod), ", ".join(filter(None, words))


def _condition(job: Object, kind: str) -> Object | None:
    for each in (job.get("status") or {}).get("conditions") or ():
        if each.get("type") == kind and each.get("status") == "True":
            found: Object = each
            return found
    return None


def has_ended(run: Object) -> bool:
    """Whether a Job or TFJob is over, however it went."""
    return any(_condition(run, kind) for kind in ("Complete", "Succeeded", "Failed"))


def has_pods(job: Object) -> bool:
    """Whether a Job that is not over has pods at work, which stopping it would end."""
    return not has_ended(job) and bool((job.get("status") or {}).get("active"))


def _labels(made: Object) -> Mapping[str, str]:
    return (made.get("metadata") or {}).get("labels") or {}


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
