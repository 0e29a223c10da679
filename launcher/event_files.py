"""TensorBoard's event files: of a script that prints nothing, they tell that it goes on.

Their ages are told by the clock of the machine that writes them: the task's own.
"""

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.engine import Engine

_NAME = "events.out.tfevents."
_WHOLE_S = 1.0  # times are told in whole seconds there
# Needs a shell, date, find and stat; prints the time there, then when each file last grew.
_LIST = f"""
date +%s
find "$@" -type f -name '{_NAME}*' -exec stat -c %Y {{}} \\; 2>/dev/null
"""


def age_here_s(folders: Iterable[str]) -> float | None:
    """Return how long ago an event file below some folders of this machine last grew."""
    return _youngest_s(time.time(), (at for folder in folders for at in _grown_at(folder)))


def age_inside_s(engine: "Engine", container_id: str, folders: Iterable[str]) -> float | None:
    """Return how long ago an event file below some folders of a container last grew.

    None also where the image lacks what lists them.

    Raises:
        HostError: its host does not answer, or the container does not run.
    """
    from launcher.execution import output

    told = output(engine, container_id, "sh", "-c", _LIST, "sh", *folders).split()
    if not told or not all(word.isdecimal() for word in told):
        return None
    now, *grown_at = map(float, told)
    return _youngest_s(now - _WHOLE_S, grown_at)


def _grown_at(folder: str) -> Iterator[float]:
    for path, _, names in os.walk(folder):
        for name in names:
            if name.startswith(_NAME):
                try:
                    yield os.stat(os.path.join(path, name)).st_mtime
                except OSError:  # it has been removed meanwhile
                    continue


def _youngest_s(now: float, grown_at: Iterable[float]) -> float | None:
    latest = max(grown_at, default=None)
    return None if latest is None else max(0.0, now - latest)
