"""What a task needs where it runs: its image and data on the host, its code in the container."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from launcher import creation
from launcher.container import Container
from launcher.creation import RUN_LABEL, run_labels
from launcher.engine import EngineError
from launcher.errors import HostError, LaunchError
from launcher.hosts import Machine
from launcher.images import Images
from launcher.inside import Inside
from launcher.plan import HOST_NETWORK, Plan
from launcher.transfer import OnProgress

if TYPE_CHECKING:
    from launcher.files.data import DataSync

T = TypeVar("T")

_CONFLICT = 409


class Prepared(NamedTuple):
    """What a host holds for a run.

    user: the image's own user, as its configuration names it.
    volumes: for each synced folder of this machine, the volume that holds its content.
    there: the run's own volumes that an earlier part of it left there.
    """

    image_id: str
    user: str
    volumes: Mapping[str, str]
    there: frozenset[str] = frozenset()


class Supply(Protocol):
    """Gives tasks what they need where they run."""

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing more is to be brought anywhere."""

    def cancel(self) -> None:
        """Let everything that is under way end, soon, with a HostError."""

    def of_host(self, machine: Machine) -> Prepared:
        """Return what the host holds for the run, once it holds it. Raises HostError."""

    def request(
        self, plan: Plan, machine: Machine, container: Container, attempt: int, *, watched: bool
    ) -> dict[str, object]:
        """Return what the engine is asked to make for an attempt. Raises HostError.

        watched: whether a shell beside the task may end it; see `orphans`.
        """

    def into_container(self, machine: Machine, container: Container, container_id: str) -> None:
        """Put what a task needs into its container that was created. Raises HostError."""


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
        self._data = dict(_data_of(plan, on_progress, cancelled))

    def cancel(self) -> None:
        """Let everything that is under way end, soon, with a HostError."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing more is to be brought anywhere."""
        return self._cancelled.is_set()

    def of_host(self, machine: Machine) -> Prepared:
        """Return what the host holds for the run, once it holds it. Raises HostError."""
        self._go_on(machine)
        return self._hosts.get(machine.name, lambda: self._prepare(machine))

    def request(
        self, plan: Plan, machine: Machine, container: Container, attempt: int, *, watched: bool
    ) -> dict[str, object]:
        """Return what the engine is asked to make for an attempt. Raises HostError."""
        held = self.of_host(machine)
        return creation.request(
            plan, container, attempt, held.image_id, held.volumes, watched=watched
        )

    def into_container(self, machine: Machine, container: Container, container_id: str) -> None:
        """Put code and secrets into a container that was created. Raises HostError."""
        self._go_on(machine)
        held = self.of_host(machine)
        for data in self._data.values():
            data.await_whole(machine.engine)
        self._inside.fill(machine.engine, container, container_id, held.user, held.there)
        self._go_on(machine)

    def _prepare(self, machine: Machine) -> Prepared:
        if self._plan.network != HOST_NETWORK:
            self._make_network(machine)
        image_id = self._images.ensure(machine.engine)
        volumes = {
            source: data.ensure(machine.engine, image_id) for source, data in self._data.items()
        }
        user = self._images.user(machine.engine, image_id)
        there = self._volumes_of_run(machine) if self._inside.asks_for_volumes else frozenset()
        return Prepared(image_id, user, volumes, there)

    def _volumes_of_run(self, machine: Machine) -> frozenset[str]:
        of_run = {"label": f"{RUN_LABEL}={self._plan.run_id}"}
        with machine.engine.errors("does not list its volumes"):
            listed = machine.engine.api.volumes(filters=of_run)["Volumes"] or ()
        return frozenset(str(each["Name"]) for each in listed)

    def _make_network(self, machine: Machine) -> None:
        try:
            with machine.engine.errors("cannot make the run's network"):
                machine.engine.api.create_network(
                    self._plan.network,
                    driver="bridge",
                    labels=run_labels(self._plan.run_id),
                    check_duplicate=True,
                )
        except EngineError as error:
            if error.status != _CONFLICT:  # an earlier part of the run left it
                raise

    def _go_on(self, machine: Machine) -> None:
        if self._cancelled.is_set():
            raise HostError(f"{machine.name}: the run ended before this task was started")


def _data_of(
    plan: Plan, on_progress: OnProgress, cancelled: threading.Event
) -> Iterator[tuple[str, "DataSync"]]:
    """Yield each folder of this machine that the tasks see, with what brings it to the hosts."""
    if synced := {m.source for c in plan.tasks[:1] for m in c.mounts if m.synced}:
        from launcher.files.data import DataSync

        for source in synced:
            sync = DataSync(source, on_progress=on_progress, is_cancelled=cancelled.is_set)
            yield source, sync


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
