"""What a task needs where it runs, taken from its earlier attempt: nothing of it is here.

For a run that another launcher began, maybe on another machine. The image and synced data are on
the host; code and secrets are in the earlier container, and are copied from there.
"""

import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping

from launcher import creation
from launcher.container import Container
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.hosts import Machine
from launcher.plan import Plan
from launcher.provision import Prepared
from launcher.task import TaskId

_MISSING = 404
_MODIFIED, _DELETED = 0, 2  # Docker's kinds of change; 1 is added
_SECRETS = "/run/secrets"


class Heritage:
    """Gives a task's next attempt what the one before had."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._cancelled = threading.Event()
        self._earlier: dict[TaskId, str] = {}

    @property
    def is_cancelled(self) -> bool:
        """Whether nothing more is to be brought anywhere."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Let everything that is under way end, soon."""
        self._cancelled.set()

    def of_host(self, machine: Machine) -> Prepared:
        """Return that nothing is to be brought to a host which has run the task before."""
        if self.is_cancelled:
            raise HostError(f"{machine.name}: the run ended before this task was started")
        return Prepared("", "", {})

    def request(
        self, plan: Plan, machine: Machine, container: Container, attempt: int, *, watched: bool
    ) -> dict[str, object]:
        """Return a request for what the attempt before was made of. Raises HostError."""
        del plan, watched  # a watch is among it
        for number in range(attempt - 1, 0, -1):
            name = creation.container_name(self._run_id, container.task, number)
            try:
                with machine.engine.errors(f"does not describe {name}"):
                    described = machine.engine.api.inspect_container(name)
            except EngineError as error:
                if error.status != _MISSING:
                    raise
                continue
            self._earlier[container.task] = described["Id"]
            return creation.request_again(described, attempt)
        raise HostError(
            f"{machine.name}: no container of {container.task} is left to start again from"
        )

    def into_container(self, machine: Machine, container: Container, container_id: str) -> None:
        """Copy what was put into the earlier container, and what its task changed beside it."""
        engine, earlier = machine.engine, self._earlier[container.task]
        with engine.errors("does not tell what a container holds"):
            changes = engine.api.diff(earlier) or ()
            mounts = engine.api.inspect_container(earlier)["Mounts"]
        mounted = frozenset(str(mount["Destination"]) for mount in mounts)
        for path in _own_changes(changes, (container.work_dir, _SECRETS), mounted):
            _copy(engine, earlier, container_id, path)


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


def _copy(engine: Engine, source: str, target: str, path: str) -> None:
    """Copy a file or folder to the same place; folders above it are made where they are missing."""
    above = path.rpartition("/")[0].lstrip("/")
    with tempfile.TemporaryFile() as came, tempfile.TemporaryFile() as goes:
        with engine.errors(f"cannot copy {path} from an earlier container"):
            for chunk in engine.api.get_archive(source, path)[0]:
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
