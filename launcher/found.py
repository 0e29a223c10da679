"""Containers of runs, as their labels tell of them on one host: whichever launcher made them."""

import re
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from launcher import creation
from launcher.task import TaskId

if TYPE_CHECKING:  # the Docker SDK is not needed to look at values
    from launcher.engine import Engine

_ENDED = ("exited", "dead")
_LIVING = ("running", "paused", "restarting")
_CODE = re.compile(r"Exited \((-?\d+)\)")
_SIGNALS = 64


class Found(NamedTuple):
    """A container of a run on a host.

    state: Docker's own word.
    code: how it ended: the exit code, -N for signal N, None where it has not, or none is known.
    created: when it was made, a Unix time of the host's clock.
    job, role, strategy: empty where an older launcher made it.
    tasks: every task of its run, as far as the label says.
    plan: the run's plan, as plan_label writes it.
    """

    run: str
    task: TaskId
    attempt: int
    host: str
    id: str
    name: str
    state: str
    code: int | None
    created: float
    job: str = ""
    role: str = ""
    strategy: str = ""
    tasks: tuple[TaskId, ...] = ()
    plan: str = ""

    @property
    def lives(self) -> bool:
        """Whether it runs; one that was made and not started does not."""
        return self.state in _LIVING

    @property
    def has_ended(self) -> bool:
        """Whether it ran, and does not any more."""
        return self.state in _ENDED


def found(engine: "Engine", run: str = "") -> tuple[Found, ...]:
    """Return every container of runs on a host, or of one run. Raises HostError."""
    label = f"{creation.RUN_LABEL}={run}" if run else creation.RUN_LABEL
    with engine.errors("does not list its containers"):
        listed = engine.api.containers(all=True, filters={"label": label})
    return tuple(one for each in listed if (one := of_listed(engine.host, each)))


def of_listed(host: str, listed: Mapping[str, Any]) -> Found | None:
    """Return a container as an engine lists it; None for one that is no task's."""
    labels = listed.get("Labels") or {}
    try:
        task = TaskId.parse(labels[creation.TASK_LABEL])
        attempt = int(labels[creation.ATTEMPT_LABEL])
        run = labels[creation.RUN_LABEL]
    except (KeyError, ValueError):
        return None
    return Found(
        run=run,
        task=task,
        attempt=attempt,
        host=host,
        id=str(listed["Id"]),
        name=str((listed.get("Names") or [""])[0]).lstrip("/"),
        state=str(listed.get("State", "")),
        code=_code(str(listed.get("Status", ""))),
        created=float(listed.get("Created", 0)),
        job=labels.get(creation.JOB_LABEL, ""),
        role=labels.get(creation.ROLE_LABEL, ""),
        strategy=labels.get(creation.STRATEGY_LABEL, ""),
        tasks=creation.counted(labels.get(creation.TASKS_LABEL, "")),
        plan=labels.get(creation.PLAN_LABEL, ""),
    )


def _code(status: str) -> int | None:
    """Return the code in `Exited (137) 5 minutes ago`; Docker, as a shell, says 128 + N."""
    said = _CODE.match(status)
    if said is None:
        return None
    code = int(said[1])
    return 128 - code if 128 < code <= 128 + _SIGNALS else code


def ended_with(code: int) -> str:
    """Return an exit code for a table: `1`, `SIGKILL`."""
    try:
        return str(code) if code >= 0 else signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
