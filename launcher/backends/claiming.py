"""Whether a container that was made may start: two runs planned at once may want the same thing.

The containers on a host say by their labels which port and GPUs they were given. Of two runs that
want the same, the one whose container was made first goes on.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.creation import GPUS_LABEL, PORT_LABEL, RUN_LABEL
from launcher.engine import Engine
from launcher.errors import HostError

_ALIVE = ["created", "running", "paused"]


def claim(engine: Engine, container_id: str) -> None:
    """Return where no other run has the port or the GPUs of a container that was just made.

    Raises:
        HostError: another run was faster; it is named.
    """
    with engine.errors("does not list its containers"):
        filters = {"label": RUN_LABEL, "status": _ALIVE}
        listed = engine.api.containers(all=True, filters=filters)
    ours = next((each for each in listed if each["Id"] == container_id), None)
    if ours is None:
        raise HostError(f"{engine.host}: somebody has removed a container of this run")
    for other in listed:
        for what in _shared(ours["Labels"], other["Labels"]):
            if other["State"] != "created" or _age(other) < _age(ours):
                run = other["Labels"][RUN_LABEL]
                raise HostError(
                    f"{engine.host}: the run {run} was given {what} at the same time; start this "
                    f"one again, or first `launch collect {run}` if nobody performs that any more"
                )


def _shared(ours: Mapping[str, str], others: Mapping[str, str]) -> Iterator[str]:
    if ours[RUN_LABEL] == others[RUN_LABEL]:
        return
    if PORT_LABEL in ours and ours[PORT_LABEL] == others.get(PORT_LABEL):
        yield f"port {ours[PORT_LABEL]}"
    if GPUS_LABEL in ours and GPUS_LABEL in others:
        both = set(ours[GPUS_LABEL].split(",")) & set(others[GPUS_LABEL].split(","))
        yield from (f"GPU {device_id}" for device_id in sorted(both))


def _age(listed: Mapping[str, Any]) -> tuple[int, str]:
    return int(listed["Created"]), str(listed["Id"])
