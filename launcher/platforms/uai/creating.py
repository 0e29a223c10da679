"""A job as it would be made, shown and made: once, whatever is tried again.

The platform has no sign by which it knows a request again, but a job's name is its run's, which
nobody else uses. So after a doubtful try the name is looked for before anything is sent again; and
what may still be at work on the first request is never sent a second.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from launcher.container import MASK
from launcher.errors import HostError
from launcher.platforms.uai import answers
from launcher.platforms.uai.answers import Job
from launcher.platforms.uai.calls import Calls, Failed, pauses
from launcher.platforms.uai.matching import Found
from launcher.platforms.uai.needs import Needs
from launcher.platforms.uai.settings import Settings
from launcher.platforms.uai.signature import Value

ACTION = "CreateUAITrainJob"
_OF_KEYS = ("PublicKey", "TrainPublicKey", "TrainPrivateKey", "Signature")
FindJob = Callable[[str], Job | None]  #: a job's name → the job


class Prepared(NamedTuple):
    """A request that makes a job; keys and signature join it when it is sent."""

    endpoint: str
    params: Mapping[str, Value]
    common: Mapping[str, str]
    node: str
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The job's name, which is its run's."""
        return str(self.params["TrainJobName"])

    def shown(self) -> dict[str, Value]:
        """Return all parameters in the order of their names, keys and signature masked."""
        masked = dict.fromkeys(_OF_KEYS, MASK)
        whole: dict[str, Value] = {**self.common, **self.params, **masked}
        return {key: whole[key] for key in sorted(whole)}

    def text(self) -> str:
        """Return what would be sent, and on what it would run, to be read."""
        amount = self.params["TrainWorkAmount"]
        lines = [f"{self.name}: {amount} x {self.node} of UAI Train", f"POST {self.endpoint}"]
        lines += [f"  {key}={value}" for key, value in self.shown().items()]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "method": "POST",
            "url": self.endpoint,
            "parameters": self.shown(),
            "node": self.node,
            "notes": list(self.notes),
        }


def prepared(
    calls: Calls, name: str, image: str, needs: Needs, found: Found, settings: Settings
) -> Prepared:
    """Return the request that makes a job."""
    params: dict[str, Value] = {
        "TrainJobName": name,
        "TrainJobMemo": settings.memo,
        "BusinessGroup": settings.business_group,
        "TrainModeId": found.mode.id,
        "TrainWorkId": found.node.id,
        "TrainWorkAmount": needs.nodes,
        "DistAIFrame": found.framework,
        "CodeUhubPath": image,
        "DockerCmd": needs.command,
        "DataUfilePath": settings.data,
        "InputDataBackendId": found.data,
        "OutputUfilePath": settings.output,
        "OutputDataBackendId": found.output,
        "MaxExecuteTime": needs.hours,
    }
    endpoint = calls.endpoint
    common = {"Action": ACTION, "Region": endpoint.region, "Zone": endpoint.zone}
    if endpoint.project:
        common["ProjectId"] = endpoint.project
    node = found.node.in_words
    return Prepared(endpoint.url, params, common, node, needs.notes)


def create(calls: Calls, request: Prepared, find: FindJob) -> str:
    """Make the job and return its id.

    Raises:
        HostError: there is none, or it is not known whether there is.
    """
    params = dict(request.params)
    params["TrainPublicKey"] = calls.credentials.public_key
    params["TrainPrivateKey"] = calls.credentials.private_key
    waits = pauses()
    while True:
        try:
            return answers.created(calls.once(ACTION, params))
        except answers.Unreadable as error:
            failed = Failed(str(error), arrived=True)
        except Failed as error:
            failed = error
        if failed.arrived is not False and (job := _made(request.name, find, failed)):
            return job.id
        pause = next(waits, None)
        if failed.arrived or pause is None:
            raise HostError(_told(request.name, failed)) from None
        time.sleep(max(pause, failed.after_s))


def _made(name: str, find: FindJob, failed: Failed) -> Job | None:
    """Return the job of a name, looked for as long as it may still come to light."""
    for pause in (0.0, *pauses()):
        time.sleep(pause)
        try:
            job = find(name)
        except HostError:
            raise HostError(_told(name, failed)) from None
        if job or not failed.arrived:
            return job
    return None


def _told(name: str, failed: Failed) -> str:
    if failed.arrived is False:
        return str(failed)
    unknown = f"whether there is a job {name} now is not known; it was not asked for again"
    listed = "`launch submit list --platform uai` shows it as soon as the platform does"
    if failed.arrived is None:
        return f"{failed}\nthere is no job {name}, as far as the platform lists it"
    return f"{failed}\n{unknown}: {listed}"
