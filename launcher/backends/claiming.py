"""Whether a container that was made may start: two runs planned at once may want the same thing.

The containers on a host say by their labels which port and GPUs they were given. Of two runs that
want the same, the one whose container was made first goes on.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.creation import GPUS_LABEL, PORT_LABEL, RUN_LABEL
from launcher.engine import Engine, EngineError
from launcher.errors import HostError

_ALIVE = ["created", "running", "paused"]
_MISSING = 404
_LATEST = "9999"
_WAIT_S = 5.0
_POLL_S = 0.05


def claim(engine: Engine, container_id: str) -> None:
    """Return where no other run has the port or the GPUs of a container that was just made.

    Of two such containers the younger gives way at once. The older waits for that: the younger
    may have looked before the older was to be seen, and start.

    Raises:
        HostError: another run was faster; it is named.
    """
    give_up_at = time.monotonic() + _WAIT_S
    while rivals := list(_rivals(engine, container_id)):
        for other, what in rivals:
            is_younger = _made_at(engine, other["Id"]) > _made_at(engine, container_id)
            if other["State"] == "created" and is_younger and time.monotonic() < give_up_at:
                continue
            run = other["Labels"][RUN_LABEL]
            raise HostError(
                f"{engine.host}: the run {run} was given {what} at the same time; start this "
                f"one again, or first `launch collect {run}` if nobody performs that any more"
            )
        time.sleep(_POLL_S)


def _rivals(engine: Engine, container_id: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the living containers of other runs that share something, with what that is."""
    with engine.errors("does not list its containers"):
        filters = {"label": RUN_LABEL, "status": _ALIVE}
        listed = engine.api.containers(all=True, filters=filters)
    ours = next((each for each in listed if each["Id"] == container_id), None)
    if ours is None:
        raise HostError(f"{engine.host}: somebody has removed a container of this run")
    for other in listed:
        for what in _shared(ours["Labels"], other["Labels"]):
            yield other, what


def _shared(ours: Mapping[str, str], others: Mapping[str, str]) -> Iterator[str]:
    if ours[RUN_LABEL] == others[RUN_LABEL]:
        return
    if PORT_LABEL in ours and ours[PORT_LABEL] == others.get(PORT_LABEL):
        yield f"port {ours[PORT_LABEL]}"
    if GPUS_LABEL in ours and GPUS_LABEL in others:
        both = set(ours[GPUS_LABEL].split(",")) & set(others[GPUS_LABEL].split(","))
        yield from (f"GPU {device_id}" for device_id in sorted(both))


def _made_at(engine: Engine, container_id: str) -> tuple[str, str]:
    """Return what orders containers by the moment at which they were made; the latest if gone."""
    try:
        with engine.errors("does not describe a container"):
            created = str(engine.api.inspect_container(container_id)["Created"])
    except EngineError as error:
        if error.status != _MISSING:
            raise
        return _LATEST, container_id
    seconds, _, rest = created.partition(".")
    return f"{seconds}.{rest.rstrip('Z'):0<9}", container_id  # trailing zeros are left out
