"""What a task needs where it runs, taken from an earlier container: nothing of it is here.

For a run that another launcher began, maybe on another machine. The image and synced data are on
the host; code and secrets are in the task's earlier container, and are copied from there. Where
that is gone, with its host or by hand, a container of a task that is alike stands for it.
"""

import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from launcher import creation
from launcher.at_once import at_all
from launcher.container import Container
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files.archive import put
from launcher.files.owner import owner_of
from launcher.files.secrets import FOLDER as SECRETS
from launcher.files.secrets import Secrets, secrets_archive
from launcher.found import Found
from launcher.hosts import Machine
from launcher.plan import Plan
from launcher.provision import Prepared
from launcher.task import TaskId

_MISSING = 404
_MODIFIED, _DELETED = 0, 2  # Docker's kinds of change; 1 is added
_SYNCED = "launch-data-"  # how volumes are named that hold a copy of data


class _Earlier(NamedTuple):
    """A container that another attempt is made of.

    described: what its engine says of it.
    """

    task: TaskId
    engine: Engine
    described: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.described["Id"])


class Heritage:
    """Gives a task's next attempt what an earlier one had.

    machines: by name, those that can be reached.
    there: the run's containers on them.
    secrets: those that a task does not hold any more, and that the user gave instead.
    """

    def __init__(
        self,
        run_id: str,
        machines: Mapping[str, Machine],
        there: Sequence[Found],
        secrets: Secrets,
    ) -> None:
        self._run_id = run_id
        self._machines = machines
        self._there = there
        self._secrets = secrets
        self._cancelled = threading.Event()
        self._earlier: dict[TaskId, _Earlier] = {}

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing more is to be brought anywhere."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Let everything that is under way end, soon."""
        self._cancelled.set()

    def of_host(self, machine: Machine) -> Prepared:
        """Return that nothing is to be brought to a host which has run tasks of the run before."""
        if self.is_cancelled:
            raise HostError(f"{machine.name}: the run ended before this task was started")
        return Prepared("", "", {})

    def request(
        self, plan: Plan, machine: Machine, container: Container, attempt: int, *, watched: bool
    ) -> dict[str, object]:
        """Return a request for what an attempt before was made of. Raises HostError."""
        del watched  # a watch is among it
        earlier = next(self._candidates(plan, machine, container.task, attempt), None)
        if earlier is None:
            what = f"no container of {container.task}, or of a task that is alike, is left"
            raise HostError(f"{self._run_id}: {what} to start again from")
        _check_data(machine, earlier.described)
        self._earlier[container.task] = earlier
        return creation.request_again(earlier.described, earlier.task, plan, container, attempt)

    def _candidates(
        self, plan: Plan, machine: Machine, task: TaskId, attempt: int
    ) -> Iterator[_Earlier]:
        """Yield what another attempt may be made of: its own latest first, then what is near."""
        for number in range(attempt - 1, 0, -1):
            name = creation.container_name(self._run_id, task, number)
            if described := _described(machine.engine, name):
                yield _Earlier(task, machine.engine, described)
        group = next((group for group in plan.alike if task in group), (task,))
        others = [one for one in self._there if one.task in group and one.host in self._machines]
        for one in sorted(others, key=lambda one: (one.host != machine.name, one.task != task)):
            engine = self._machines[one.host].engine
            try:
                described = _described(engine, one.id)
            except HostError:  # its host is lost
                continue
            if described:
                yield _Earlier(one.task, engine, described)

    def into_container(self, machine: Machine, container: Container, container_id: str) -> None:
        """Copy what was put into the earlier container, and what its task changed beside it."""
        earlier, engine = self._earlier[container.task], machine.engine
        with earlier.engine.errors("does not tell what a container holds"):
            changes = earlier.engine.api.diff(earlier.id) or ()
        mounted = frozenset(str(mount["Destination"]) for mount in earlier.described["Mounts"])
        for path in _own_changes(changes, (container.work_dir, SECRETS), mounted):
            _copy(earlier, engine, container_id, path)
        owner = owner_of(engine, str(earlier.described["Config"].get("User") or ""), container_id)
        archive = secrets_archive(self._secrets, owner)
        put(engine, container_id, *([archive] if archive else ()))


def lost_secrets(
    names: Iterable[str], machines: Mapping[str, Machine], latest: Iterable[Found]
) -> list[str]:
    """Return which secrets the latest attempt of some task does not hold any more.

    Raises:
        HostError: a host does not say.
    """
    asked = [(name, one) for name in names for one in latest]

    def is_lost(item: tuple[str, Found]) -> bool:
        name, one = item
        return not machines[one.host].engine.has(one.id, f"{SECRETS}/{name}")

    lost = at_all(asked, is_lost)
    return sorted({name for (name, _), is_gone in zip(asked, lost, strict=True) if is_gone})


def _described(engine: Engine, name: str) -> Mapping[str, Any] | None:
    """Return what an engine says of a container; None where it is gone. Raises HostError."""
    try:
        with engine.errors(f"does not describe {name}"):
            described: Mapping[str, Any] = engine.api.inspect_container(name)
            return described
    except EngineError as error:
        if error.status != _MISSING:
            raise
        return None


def _check_data(machine: Machine, described: Mapping[str, Any]) -> None:
    """Refuse a host without the data that tasks are to see: the engine would make it, empty.

    Raises:
        HostError: it is not there.
    """
    for mount in described["Mounts"]:
        name = str(mount.get("Name") or "")
        if not name.startswith(_SYNCED):
            continue
        try:
            with machine.engine.errors("does not tell what volumes it has"):
                machine.engine.api.inspect_volume(name)
        except EngineError as error:
            if error.status != _MISSING:
                raise
            what = "it has no copy of the data (data.sync), and who attaches has none to bring"
            raise HostError(f"{machine.name}: {what}") from None


def _own_changes(
    changes: Iterable[Mapping[str, object]], below: tuple[str, ...], mounted: frozenset[str]
) -> Iterator[str]:
    """Yield what was added or changed below some folders, no path within another that is yielded.

    What is mounted is no part of a container's own files.
    """
    kinds = {str(c["Path"]): c["Kind"] for c in changes if c["Kind"] != _DELETED}
    taken: set[str] = set()
    for path in sorted(kinds, key=lambda path: path.split("/")):
        parents = {path.rsplit("/", n)[0] for n in range(1, path.count("/"))}
        holds_mount = any(mount == path or mount.startswith(f"{path}/") for mount in mounted)
        is_folder = kinds[path] == _MODIFIED and any(p.startswith(f"{path}/") for p in kinds)
        if parents & (taken | mounted) or holds_mount or is_folder:
            continue
        if any(path.startswith(f"{folder}/") or path == folder for folder in below):
            taken.add(path)
            yield path


def _copy(earlier: _Earlier, engine: Engine, target: str, path: str) -> None:
    """Copy a file or folder to the same place; folders above it are made where they are missing."""
    above = path.rpartition("/")[0].lstrip("/")
    with tempfile.TemporaryFile() as came, tempfile.TemporaryFile() as goes:
        with earlier.engine.errors(f"cannot copy {path} from an earlier container"):
            for chunk in earlier.engine.api.get_archive(earlier.id, path)[0]:
                came.write(chunk)
        came.seek(0)
        with (
            tarfile.open(fileobj=came, mode="r:") as old,
            tarfile.open(fileobj=goes, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in old:
                member.name = f"{above}/{member.name}"  # as it was below its own folder
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
        goes.seek(0)
        with engine.errors(f"cannot copy {path} into a new container"):
            engine.api.put_archive(target, "/", goes)
