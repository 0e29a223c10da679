"""The platform's words for where a job stands, in ours."""

from launcher.platforms import State, Submitted
from launcher.platforms.uai.answers import Job

_STATES = {
    "pending": State.PENDING,
    "starting": State.STARTING,
    "doing": State.RUNNING,
    "stopping": State.STOPPING,
    "done": State.SUCCEEDED,
    "stopped": State.STOPPED,
    "error": State.FAILED,
    "deleted": State.DELETED,
}


def state(status: str) -> State:
    """Return what a status means; UNKNOWN for a word that was not known when this was written."""
    return _STATES.get(status.strip().lower(), State.UNKNOWN)


def submitted(job: Job) -> Submitted:
    """Return a job as every platform tells of one."""
    return Submitted(job.id, job.name, state(job.status), job.status, job.created, job.details)
