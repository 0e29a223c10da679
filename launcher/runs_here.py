"""The runs that have a folder on this machine, as their files tell; and what lives of processes.

A run's report is written last, so a run without one is under way, or its launcher was killed. What
its processes do then is asked of the system: each has its run's name in its environment.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launcher import supervision
from launcher.errors import HostError
from launcher.overview import Known, Overview, Place, State, TaskSeen
from launcher.task import CHIEF, TaskId, TaskType

Living = Mapping[str, frozenset[TaskId]]


class RunHere(NamedTuple):
    """One run's folder.

    plan, report: as plan.json and report.json have them; an empty report is none.
    """

    path: Path
    plan: Mapping[str, Any]
    report: Mapping[str, Any]
    holder: supervision.Holder | None

    @property
    def run(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def in_containers(self) -> bool:
        """Whether its tasks are containers."""
        return self.plan.get("backend") == "docker"

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks of its plan."""
        return tuple(task for task, _ in _planned(self.plan))

    @property
    def addresses(self) -> frozenset[str]:
        """Where its hosts are; empty where its tasks are processes."""
        hosts = self.plan.get("hosts")
        listed = hosts.values() if isinstance(hosts, dict) else ()
        return frozenset(str(each.get("address")) for each in listed if isinstance(each, dict))

    @property
    def known(self) -> Known:
        """What the folder says beside what the tasks do."""
        is_home = bool(self.report) and not self.report.get("left_on_hosts") and not self.holder
        outcome = "" if self.holder else str(self.report.get("outcome") or "")
        return Known(str(self.holder or ""), outcome, is_home)


def runs_here(folder: Path) -> tuple[RunHere, ...]:
    """Return the runs below a folder, those that are no runs left out; oldest first."""
    try:
        paths = [path for path in folder.iterdir() if (path / "plan.json").is_file()]
    except OSError:
        return ()
    found = (read(path) for path in paths)
    return tuple(sorted((one for one in found if one), key=lambda one: began(one.path)))


def read(path: Path) -> RunHere | None:
    """Return the run whose folder this is, None where it is none."""
    plan = _json(path / "plan.json")
    if not plan:
        return None
    try:
        holder = supervision.holder(path)
    except HostError:
        holder = None
    return RunHere(path, plan, _json(path / "report.json"), holder)


def began(path: Path) -> float:
    """Return when a run was begun, a Unix time: plan.json is written then."""
    try:
        return (path / "plan.json").stat().st_mtime
    except OSError:
        return 0.0


def overview(here: RunHere, living: Living, *, asked: bool) -> Overview:
    """Return a run at a glance, of which no container was found.

    living: the tasks of each run that live as processes.
    asked: whether its hosts were asked, and all answered.
    """
    tasks = tuple(_tasks(here, living.get(here.run, frozenset())))
    known = here.known
    return Overview(
        run=here.run,
        job=str(here.plan.get("job") or ""),
        strategy=str(here.plan.get("strategy") or ""),
        state=_state(here, tasks, asked=asked),
        tasks=tasks,
        since=began(here.path),
        supervisor=known.supervisor,
        outcome=known.outcome,
    )


def _state(here: RunHere, tasks: Iterable[TaskSeen], *, asked: bool) -> State:
    places = {seen.place for seen in tasks}
    if here.holder:
        if Place.MISSING in places:
            return State.STARTING
        if Place.UP not in places:
            return State.PAUSING
        failed = any(seen.place is Place.ENDED and seen.code != 0 for seen in tasks)
        return State.PARTLY_LOST if failed else State.RUNNING
    if here.report:
        return State.OVER if here.known.is_home or asked else State.ENDED
    if here.in_containers:
        return State.LOST if asked else State.UNKNOWN
    return State.UNSUPERVISED if Place.UP in places else State.LOST


def _tasks(here: RunHere, living: frozenset[TaskId]) -> Iterable[TaskSeen]:
    """Yield the tasks of a run as its own files have them."""
    ends = _reported(here.report) if here.report else _happened(here.path / "events.jsonl")
    for task, planned in _planned(here.plan):
        attempt, place, code = ends.get(str(task), (0, Place.MISSING, None))
        if not here.holder and place is Place.UP and task not in living:
            place = Place.MISSING if here.in_containers else Place.ENDED
        elif not here.in_containers and task in living:
            place, code = Place.UP, None
        host = str(planned.get("host") or "")
        yield TaskSeen(task, str(planned.get("role") or ""), host, attempt, place, code)


def _planned(plan: Mapping[str, Any]) -> Iterator[tuple[TaskId, Mapping[str, Any]]]:
    """Yield each task of a plan.json, with what the plan says of it."""
    for planned in plan.get("tasks") or ():
        try:
            yield TaskId.parse(planned["task"]), planned
        except (KeyError, ValueError, TypeError, AttributeError):
            continue


def _reported(report: Mapping[str, Any]) -> dict[str, tuple[int, Place, int | None]]:
    """Return what report.json says of each task that was started."""
    ends: dict[str, tuple[int, Place, int | None]] = {}
    for task in report.get("tasks") or ():
        try:
            if task["duration_s"] is not None or task["exit_code"] is not None:
                ends[str(task["task"])] = (int(task["attempt"]), Place.ENDED, task["exit_code"])
        except (KeyError, TypeError, ValueError):
            continue
    return ends


def _happened(path: Path) -> dict[str, tuple[int, Place, int | None]]:
    """Return what events.jsonl says of each task; a torn last line is none."""
    ends: dict[str, tuple[int, Place, int | None]] = {}
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ends
    for line in lines:
        try:
            event = json.loads(line)
            what, task, attempt = event["what"], str(event["task"]), int(event["attempt"])
        except (ValueError, KeyError, TypeError):
            continue
        if what == "Started":
            ends[task] = (attempt, Place.UP, None)
        elif what in ("Exited", "StartFailed", "Lost"):
            ends[task] = (attempt, Place.ENDED, event.get("code"))
    return ends


class LivingProcess(NamedTuple):
    """A process of this user that a run has started."""

    run: str
    task: TaskId
    pid: int


def living_processes() -> Living:
    """Return of each run the tasks of which a process of this user lives."""
    living: dict[str, set[TaskId]] = {}
    for one in _processes():
        living.setdefault(one.run, set()).add(one.task)
    return {run: frozenset(tasks) for run, tasks in living.items()}


def processes_of(run: str) -> tuple[LivingProcess, ...]:
    """Return the processes of this user that a run has started, this one excepted."""
    return tuple(one for one in _processes() if one.run == run and one.pid != os.getpid())


def _processes() -> Iterator[LivingProcess]:
    try:
        pids = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                text = file.read()
        except OSError:  # it has ended, or is another user's
            continue
        if b"LAUNCH_RUN=" in text:
            env = dict(entry.partition(b"=")[::2] for entry in text.split(b"\0"))
            run = env.get(b"LAUNCH_RUN", b"").decode("utf-8", "replace")
            yield LivingProcess(run, _task(env.get(b"TF_CONFIG", b"")), int(pid))


def _task(tf_config: bytes) -> TaskId:
    """Return the task that a process is; one without a cluster is its run's only one."""
    try:
        task = json.loads(tf_config)["task"]
        return TaskId(TaskType(task["type"]), int(task["index"]))
    except (ValueError, KeyError, TypeError):
        return CHIEF


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
