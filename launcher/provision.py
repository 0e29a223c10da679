"""What a task needs where it runs: its image and data on the host, its code in the container."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from launcher.creation import run_labels
from launcher.errors import HostError, LaunchError
from launcher.files.data import DataSync
from launcher.hosts import Machine
from launcher.images import Images
from launcher.inside import Inside
from launcher.plan import HOST_NETWORK, Plan
from launcher.transfer import OnProgress

T = TypeVar("T")


class Prepared(NamedTuple):
    """What a host holds for a run.

    user: the image's own user, as its configuration names it.
    volumes: for each synced folder of this machine, the volume that holds its content.
    """

    image_id: str
    user: str
    volumes: Mapping[str, str]


class Provision:
    """Brings what a run needs to its hosts, once to each, and into its containers.

    cancelled: set once nothing more is to be brought anywhere.
    """

    def __init__(
        self,
        plan: Plan,
        images: Images,
        inside: Inside,
        cancelled: threading.Event,
        on_progress: OnProgress,
    ) -> None:
        self._plan = plan
        self._images = images
        self._inside = inside
        self._cancelled = cancelled
        self._hosts = _Once[Prepared]()
        synced = {m.source for c in plan.tasks[:1] for m in c.mounts if m.synced}
        self._data = {
            source: DataSync(source, on_progress=on_progress, is_cancelled=cancelled.is_set)
            for source in synced
        }

    def cancel(self) -> None:
        """Let everything that is under way end, soon, with a HostError."""
        self._cancelled.set()

    def of_host(self, machine: Machine) -> Prepared:
        """Return what the host holds for the run, once it holds it. Raises HostError."""
        self._go_on(machine)
        return self._hosts.get(machine.name, lambda: self._prepare(machine))

    def into_container(self, machine: Machine, container_id: str) -> None:
        """Put code and secrets into a container that was created. Raises HostError."""
        self._go_on(machine)
        for data in self._data.values():
            data.await_whole(machine.engine)
        self._inside.fill(machine.engine, container_id, self.of_host(machine).user)
        self._go_on(machine)

    def _prepare(self, machine: Machine) -> Prepared:
        if self._plan.network != HOST_NETWORK:
            self._make_network(machine)
        image_id = self._images.ensure(machine.engine)
        volumes = {
            source: data.ensure(machine.engine, image_id) for source, data in self._data.items()
        }
        with machine.engine.errors("does not describe the image"):
            config = machine.engine.api.inspect_image(image_id)["Config"] or {}
        return Prepared(image_id, str(config.get("User") or ""), volumes)

    def _make_network(self, machine: Machine) -> None:
        with machine.engine.errors("cannot make the run's network"):
            machine.engine.api.create_network(
                self._plan.network,
                driver="bridge",
                labels=run_labels(self._plan.run_id),
                check_duplicate=True,
            )

    def _go_on(self, machine: Machine) -> None:
        if self._cancelled.is_set():
            raise HostError(f"{machine.name}: the run ended before this task was started")


class _Once(Generic[T]):
    """For each key a value that is made once, by whoever asks first; a failure is kept too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._made: dict[str, T | HostError] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`, after waiting for whoever is making it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                try:
                    self._made[key] = make()
                except HostError as error:
                    self._made[key] = error
                except LaunchError as error:  # what was right when the run began is not any more
                    self._made[key] = HostError(str(error))
        made = self._made[key]
        if isinstance(made, HostError):
            raise made
        return made
