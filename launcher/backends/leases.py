"""The lease by which containers see that their launcher lives, where `orphan_s` asks for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from launcher import orphans
from launcher.cluster import Timeouts
from launcher.engine import Engine
from launcher.errors import HostError
from launcher.files.archive import ROOT, Writer, put
from launcher.results import remove_container


class Leases:
    """Creates containers that are watched, and renews their leases while they run.

    say: shows a line to the user.
    """

    def __init__(self, timeouts: Timeouts, say: Callable[[str], None]) -> None:
        self._period_s = orphans.period_s(timeouts)
        self._say = say
        self._lock = threading.Lock()
        self._has_shell: dict[str, bool] = {}  # by host

    def create(
        self, engine: Engine, body: Callable[[bool], Mapping[str, object]], name: str
    ) -> str:
        """Create a container, watched where its image has a shell; return its id.

        body: returns what to ask the engine for, by whether the container is watched.

        Raises:
            HostError: the engine refuses.
        """
        watched = self._period_s is not None and self._has_shell.get(engine.host, True)
        made = _create(engine, body(watched), name)
        if not watched or self._can_be_watched(engine, made):
            return made
        remove_container(engine, made)
        return _create(engine, body(False), name)

    @contextlib.contextmanager
    def renewed(self, engine: Engine, container_id: str) -> Iterator[None]:
        """Tell a container again and again that its launcher lives, as long as the block lasts."""
        if self._period_s is None or not self._has_shell.get(engine.host, True):
            yield
            return
        is_over = threading.Event()
        args = (engine, container_id, self._period_s, is_over)
        threading.Thread(target=_renew, args=args, name="lease", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()

    def _can_be_watched(self, engine: Engine, container_id: str) -> bool:
        with self._lock:
            if engine.host not in self._has_shell:
                found = self._has_shell[engine.host] = engine.has(container_id, orphans.SHELL)
                if not found:
                    what = f"the image has no {orphans.SHELL}"
                    self._say(f"note: timeouts.orphan_s does nothing on {engine.host}: {what}")
            return self._has_shell[engine.host]


def _create(engine: Engine, body: Mapping[str, object], name: str) -> str:
    return str(engine.api.create_container_from_config(body, name)["Id"])


def _renew(engine: Engine, container_id: str, period_s: float, is_over: threading.Event) -> None:
    while not is_over.is_set():
        with Writer(ROOT) as writer:
            text = f"{time.monotonic_ns()}\n"
            writer.add_bytes(orphans.CONTAINER_LEASE, text.encode(), 0o644)
            archive = writer.done()
        with contextlib.suppress(HostError):  # the host cannot be reached, or the task has ended
            put(engine, container_id, archive)
        is_over.wait(period_s)
