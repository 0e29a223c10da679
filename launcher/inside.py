"""What a container holds before it starts: the code, its secrets, and folders to write to."""

import os
import threading
from collections.abc import Collection, Iterator, Mapping

from launcher.container import Container
from launcher.engine import Engine
from launcher.errors import InputError, Problem
from launcher.files.archive import ROOT, Archive, Owner, put
from launcher.files.code import code_archive
from launcher.files.earlier import Earlier
from launcher.files.owner import output_archive, owner_of
from launcher.files.secrets import read_secrets, secrets_archive
from launcher.plan import Plan


class Inside:
    """Fills a run's containers, each after it was created and before it is started."""

    def __init__(self, plan: Plan, environ: Mapping[str, str], *, goes_on: bool = False) -> None:
        """Read what is to be put into containers.

        goes_on: whether the run goes on from what is home of it.

        Raises:
            InputError: with everything that cannot be read.
        """
        self._plan = plan
        self._lock = threading.Lock()
        self._archives: dict[Owner, tuple[Archive, ...]] = {}
        problems = [*_missing_data(plan)]
        try:
            self._secrets = read_secrets(plan.secrets, environ)
        except InputError as error:
            problems += error.problems
        try:
            self._code(ROOT)
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError(problems)
        # Of the run's own volumes: others' folders keep their owners.
        self._folders = {
            mount.target
            for container in plan.tasks
            for mount in container.mounts
            if mount.source.startswith(f"launch-{plan.run_id}-")
        }

        self._earlier = (
            Earlier(f"launch-{plan.run_id}-", lambda c, path: plan.at_home(c.task, path))
            if goes_on
            else None
        )

    @property
    def asks_for_volumes(self) -> bool:
        """Whether it matters which volumes of the run are on a host already."""
        return self._earlier is not None

    def fill(
        self,
        engine: Engine,
        container: Container,
        container_id: str,
        user: str,
        there: Collection[str],
    ) -> None:
        """Fill one container, whose image's configuration names `user`.

        there: the run's volumes that were on the host before it.

        Raises:
            HostError: the image has no such user, or the host's disk is full.
        """
        owner = owner_of(engine, user, container_id)
        put(engine, container_id, *self._of(owner))
        if self._earlier:
            self._earlier.put(engine, container, container_id, owner, there)

    def _of(self, owner: Owner) -> tuple[Archive, ...]:
        with self._lock:
            if owner not in self._archives:
                # Fresh volumes are root's already.
                folders = () if owner == ROOT else sorted(self._folders)
                made = (
                    output_archive(owner, folders),
                    self._code(owner),
                    secrets_archive(self._secrets, owner),
                )
                self._archives[owner] = tuple(archive for archive in made if archive)
            return self._archives[owner]

    def _code(self, owner: Owner) -> Archive | None:
        plan = self._plan
        runs = plan.run_dir.rpartition("/")[0]
        return code_archive(plan.job.script, plan.code, owner, leave_out=(runs,))


def _missing_data(plan: Plan) -> Iterator[Problem]:
    """Yield each folder of this machine that hosts shall get a copy of, and that is not there."""
    for source in {m.source for c in plan.tasks[:1] for m in c.mounts if m.synced}:
        if not os.path.isdir(source):
            yield Problem("data.sync", f"{source} is not there; expected a folder of this machine")
