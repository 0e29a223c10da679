"""What an earlier part of a run brought home, on its way back into the run's new volumes."""

import os
import threading
from collections.abc import Callable, Collection, Iterator

from launcher.container import Container
from launcher.engine import Engine
from launcher.errors import HostError
from launcher.files.archive import Owner, Writer, put


class Earlier:
    """Fills the volumes of a run that goes on; thread-safe.

    home: where a folder that a task sees lies on this machine.
    """

    def __init__(self, volumes: str, home: Callable[[Container, str], str]) -> None:
        """`volumes` begins the name of each of the run's volumes."""
        self._volumes = volumes
        self._home = home
        self._lock = threading.Lock()
        self._filled: set[tuple[str, str]] = set()  # host, volume

    def put(
        self,
        engine: Engine,
        container: Container,
        container_id: str,
        owner: Owner,
        there: Collection[str],
    ) -> None:
        """Put what is home into the new volumes of a container that was created.

        there: the run's volumes that were on the host before; they hold at least as much.

        Raises:
            HostError: it cannot be read here, or not be written there.
        """
        for target in self._new(engine.host, container, there):
            folder = self._home(container, target)
            if os.path.isdir(folder):
                _put(engine, container_id, folder, target, owner)

    def _new(self, host: str, container: Container, there: Collection[str]) -> Iterator[str]:
        for mount in container.mounts:
            if not mount.source.startswith(self._volumes) or mount.source in there:
                continue
            with self._lock:
                is_new = (host, mount.source) not in self._filled
                self._filled.add((host, mount.source))
            if is_new:
                yield mount.target


def _put(engine: Engine, container_id: str, folder: str, target: str, owner: Owner) -> None:
    with Writer(owner, on_disk=True) as writer:
        try:
            for at, folders, files in os.walk(folder):
                inside = os.path.join(target, os.path.relpath(at, folder))
                for name in (*sorted(folders), *sorted(files)):
                    writer.add_path(os.path.join(at, name), os.path.normpath(f"{inside}/{name}"))
        except OSError as error:
            raise HostError(f"{error.filename}: cannot be read: {error.strerror}") from None
        put(engine, container_id, writer.done())
