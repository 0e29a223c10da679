"""What a run left on its hosts, found by its labels: brought home whole, and then removed.

The hosts are the only truth: nothing here knows which launcher made what it finds. A container
goes only after its log and its task's results are home, a volume only after the container.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from launcher.at_once import at_all, within
from launcher.backends import Brought, Homecoming
from launcher.creation import (
    ATTEMPT_LABEL,
    CHECKPOINTS_LABEL,
    OUTPUT_LABEL,
    PORT_LABEL,
    RUN_LABEL,
    TASK_LABEL,
)
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files.results import collect
from launcher.hosts import Machine
from launcher.layout import CONTAINER_CHECKPOINT_DIR
from launcher.task import EVALUATOR, TaskId
from launcher.transfer import OnProgress

_OURS = {TASK_LABEL, ATTEMPT_LABEL, OUTPUT_LABEL}  # each of our containers has all of them
_MISSING = 404
_CANCEL_S = 2.0
_LOST_S = 6.0
_TICK_S = 0.1


class Left(NamedTuple):
    """A container of a run on a host.

    volumes: those of the run that it mounts, by where it sees them.
    has_copies: whether the checkpoints that it sees may be no more than copies of the chief's.
    """

    task: TaskId
    attempt: int
    id: str
    name: str
    output_dir: str
    volumes: Mapping[str, str]
    lives: bool
    has_copies: bool = False


class Collecting(NamedTuple):
    """How a run's results come home.

    run_dir: the run's folder on this machine.
    keep: whether containers and volumes stay on their hosts afterwards.
    """

    run_id: str
    run_dir: Path
    keep: bool
    on_progress: OnProgress


class Results:
    """Brings a run's results home."""

    def __init__(self, how: Collecting) -> None:
        self._how = how
        self._cancelled = threading.Event()
        self._unwhole: set[str] = set()  # containers whose log is not home
        self._lost: set[str] = set()  # hosts
        self._latest: dict[TaskId, int] = {}
        self._has_found_own = False  # the container of the last attempt that wrote checkpoints

    def cancel(self) -> None:
        """Leave what is not home yet where it is."""
        self._cancelled.set()

    def log_is_not_home(self, container_id: str) -> None:
        """Keep a container: its log could not be copied to its end."""
        self._unwhole.add(container_id)

    def host_is_lost(self, host: str) -> None:
        """Expect no more of a host than that it may be back."""
        self._lost.add(host)

    def bring_home(self, machines: Iterable[Machine]) -> Homecoming:
        """Bring home what the run left on these hosts, all at once, then remove it there.

        Once it is cancelled it returns soon, whatever the hosts do.
        """
        todo = list(machines)
        listed = at_all(todo, lambda machine: self._until_cancelled(machine, self._listed))
        self._note_latest(here for here in listed if not isinstance(here, Homecoming))
        pairs = list(zip(todo, listed, strict=True))
        homes = [*at_all(pairs, lambda pair: self._of_host(*pair)), *self._never_reached(todo)]
        return Homecoming(
            tuple(sorted(brought for home in homes for brought in home.brought)),
            tuple(problem for home in homes for problem in home.problems),
        )

    def _never_reached(self, machines: Iterable[Machine]) -> Iterator[Homecoming]:
        for name in sorted(self._lost - {machine.name for machine in machines}):
            yield self._left_there(name, f"{name}: cannot be reached")

    def _note_latest(self, listed: Iterable[tuple[Left, ...]]) -> None:
        """Note of each task the latest attempt that is known: a task may have moved."""
        self._latest = reported_attempts(self._how.run_dir)
        all_left = [each for here in listed for each in here]
        for each in all_left:
            self._latest[each.task] = max(each.attempt, self._latest.get(each.task, 0))
        self._has_found_own = any(
            CONTAINER_CHECKPOINT_DIR in each.volumes
            and not each.has_copies
            and each.attempt == self._latest[each.task]
            for each in all_left
        )

    def _of_host(self, machine: Machine, here: tuple[Left, ...] | Homecoming) -> Homecoming:
        if isinstance(here, Homecoming):
            return here
        done = self._until_cancelled(machine, lambda machine: self._brought(machine, here))
        assert isinstance(done, Homecoming)
        return done

    def _until_cancelled(
        self, machine: Machine, do: Callable[[Machine], tuple[Left, ...] | Homecoming]
    ) -> tuple[Left, ...] | Homecoming:
        done: list[tuple[Left, ...] | Homecoming] = []
        doing = threading.Thread(target=lambda: done.append(do(machine)), daemon=True)
        doing.start()
        while doing.is_alive() and not self._cancelled.is_set():
            doing.join(_TICK_S)
        doing.join(_CANCEL_S)
        if done:
            return done[0]
        return self._left_there(machine.name, f"{machine.name}: did not answer until ^C")

    def _listed(self, machine: Machine) -> tuple[Left, ...] | Homecoming:
        try:
            return self._left(machine)
        except HostError as error:
            return self._left_there(machine.name, str(error))

    def _brought(self, machine: Machine, here: tuple[Left, ...]) -> Homecoming:
        brought: list[Brought] = []
        try:
            homes = self._homes(here)
            for folder, (one, inside) in homes.items():
                got = self._collect(machine, one, inside, folder)
                brought += [got] if got.files or got.skipped else []
            if self._unwhole & {each.id for each in here}:
                raise HostError(f"{machine.name}: not every log is home")
            if not self._how.keep:
                self._remove(machine.engine, here)
        except HostError as error:
            return self._left_there(machine.name, str(error), brought)
        return Homecoming(tuple(brought))

    def _left(self, machine: Machine) -> tuple[Left, ...]:
        def ask() -> tuple[Left, ...]:
            return left(machine.engine, self._how.run_id)

        if machine.name not in self._lost:
            return ask()
        return within(_LOST_S, ask, f"{machine.name}: cannot be reached")

    def _left_there(self, host: str, why: str, brought: Iterable[Brought] = ()) -> Homecoming:
        how = f"`launch collect {self._how.run_id}` brings home what is there"
        if host in self._lost:
            how = f"tasks may still run there; {how} once they have ended"
        return Homecoming(tuple(brought), (f"{why} ({how})",))

    def _homes(self, containers: Iterable[Left]) -> Mapping[Path, tuple[Left, str]]:
        """Return for each folder here the container and the folder in it that fill it.

        All attempts of a task, and all tasks that share checkpoints, have one volume. That of a
        host from which the task has moved is named by its last attempt there. What may be copies
        is left out where the chief's own is known; else it may be just that.
        """
        homes: dict[Path, tuple[Left, str]] = {}
        newest = {each.task: each for each in sorted(containers, key=lambda each: each.attempt)}
        for each in newest.values():
            moved = each.attempt < self._latest.get(each.task, 0)
            name = f"{each.task.slug}.{each.attempt}" if moved else each.task.slug
            homes[self._how.run_dir / "output" / name] = (each, each.output_dir)
            if CONTAINER_CHECKPOINT_DIR in each.volumes and not each.has_copies:
                name = f"checkpoints.{each.attempt}" if moved else "checkpoints"
                homes[self._how.run_dir / name] = (each, CONTAINER_CHECKPOINT_DIR)
        own = {inside for _, inside in homes.values()}
        copies = [
            each
            for each in newest.values()
            if each.has_copies and CONTAINER_CHECKPOINT_DIR in each.volumes
        ]
        if copies and not self._has_found_own and CONTAINER_CHECKPOINT_DIR not in own:
            home = self._how.run_dir / "checkpoints"
            if home.exists():  # which may be newer, where the chief's host is lost
                home = home.with_name(f"checkpoints.{copies[0].task.slug}")
            homes[home] = (copies[0], CONTAINER_CHECKPOINT_DIR)
        return homes

    def _collect(self, machine: Machine, one: Left, inside: str, home: Path) -> Brought:
        if self._cancelled.is_set():
            raise HostError(f"{machine.name}: stopped before {one.task}'s results were home")
        got = collect(
            machine.engine,
            one.id,
            inside,
            home,
            on_progress=self._how.on_progress,
            is_cancelled=self._cancelled.is_set,
        )
        if inside == CONTAINER_CHECKPOINT_DIR:
            from launcher.files.checkpoints_given import remove_marks

            got = got._replace(files=got.files - remove_marks(home))
        return Brought(str(home), *got)

    def _remove(self, engine: Engine, containers: Iterable[Left]) -> None:
        for each in containers:
            remove_container(engine, each.id)
        of_run = {"label": f"{RUN_LABEL}={self._how.run_id}"}
        for container in self._of_checkpoints(engine):
            remove_container(engine, container)
        with engine.errors("cannot remove the run's volumes"):
            for volume in engine.api.volumes(filters=of_run)["Volumes"] or ():
                engine.api.remove_volume(volume["Name"])
        with engine.errors("cannot remove the run's network"):
            for network in engine.api.networks(filters=of_run):
                engine.api.remove_network(network["Id"])

    def _of_checkpoints(self, engine: Engine) -> Iterator[str]:
        labels = [f"{RUN_LABEL}={self._how.run_id}", CHECKPOINTS_LABEL]
        with engine.errors("does not list its containers"):
            listed = engine.api.containers(all=True, filters={"label": labels})
        return (str(each["Id"]) for each in listed)


def reported_attempts(run_dir: Path) -> dict[TaskId, int]:
    """Return the attempts with which a run's tasks ended, where it is over: nothing otherwise."""
    try:
        tasks = json.loads((run_dir / "report.json").read_text("utf-8"))["tasks"]
        started = (task for task in tasks if task["duration_s"] is not None)
        return {TaskId.parse(task["task"]): int(task["attempt"]) for task in started}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def left(engine: Engine, run_id: str) -> tuple[Left, ...]:
    """Return every container of a run on a host. Raises HostError."""
    with engine.errors("does not list its containers"):
        listed = engine.api.containers(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})
    return tuple(_left(each, run_id) for each in listed if each["Labels"].keys() >= _OURS)


def _left(listed: Mapping[str, object], run_id: str) -> Left:
    labels, mounts, names = listed["Labels"], listed["Mounts"], listed["Names"]
    assert isinstance(labels, dict) and isinstance(mounts, list) and isinstance(names, list)
    volumes = {
        str(mount["Destination"]): str(mount["Name"])
        for mount in mounts
        if mount["Type"] == "volume" and str(mount["Name"]).startswith(f"launch-{run_id}-")
    }
    task = TaskId.parse(labels[TASK_LABEL])
    return Left(
        task,
        int(labels[ATTEMPT_LABEL]),
        str(listed["Id"]),
        str(names[0]).lstrip("/"),
        str(labels[OUTPUT_LABEL]),
        volumes,
        listed["State"] in ("running", "paused", "restarting"),
        has_copies=task == EVALUATOR and PORT_LABEL in labels,  # on hosts
    )


def remove_container(engine: Engine, container_id: str) -> None:
    """Remove a container with its anonymous volumes; one that is gone is no error."""
    try:
        with engine.errors("cannot remove a container"):
            engine.api.remove_container(container_id, v=True, force=True)
    except EngineError as error:
        if error.status != _MISSING:
            raise
