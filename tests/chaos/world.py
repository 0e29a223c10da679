"""Where a cell's tasks run: cluster.yaml for it, and the tasks' processes wherever they are."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.cells import Cell, Fault, Kind, Where
from tests.testbed import Testbed

SHARED = "/srv/launch-chaos"
HOSTS = 3


def cluster_yaml(cell: Cell, bed: Testbed | None, mark: str, image: str, slow: float) -> str:
    """Return cluster.yaml for a cell."""
    env = {"CHAOS_MARK": mark} | ({"CHAOS_HOLD": cell.held} if cell.held else {})
    value: dict[str, object] = {
        "env": env,
        "tasks": _tasks(cell),
        "timeouts": _timeouts(cell, slow),
        "restarts": {"backoff_s": 1, "move": cell.fault is Fault.CUT_MOVE}
        | ({"max": 0} if cell.fault is Fault.SKEW else {}),
    }
    if cell.where is not Where.PROCESS:
        value |= {"image": image, "backend": "docker"}
    if cell.where is Where.HOSTS:
        assert bed is not None
        hosts = bed.hosts[:HOSTS]
        value["hosts"] = {h.name: {"address": h.address, "ssh": {"host": h.name}} for h in hosts}
        if shares_checkpoints(cell):
            value["checkpoints"] = SHARED
    return json.dumps(value, indent=1)  # JSON is YAML


def shares_checkpoints(cell: Cell) -> bool:
    """Whether checkpoints go to a folder of the hosts, not to the chief's own volume."""
    is_needed = cell.kind is Kind.PSS_EVALUATOR or cell.fault is Fault.CUT_MOVE
    return cell.where is Where.HOSTS and is_needed


def _tasks(cell: Cell) -> dict[str, dict[str, object]]:
    tasks: dict[str, dict[str, object]] = {"chief": {}, "worker": {"count": 2}}
    if cell.kind is not Kind.MWMS:
        tasks["ps"] = {}
    if cell.kind is Kind.PSS_EVALUATOR:
        tasks["evaluator"] = {}
    if cell.where is Where.HOSTS:
        places = {"chief": ["h1"], "worker": ["h2", "h3"], "ps": ["h3"], "evaluator": ["h1"]}
        if cell.fault is Fault.CUT_MOVE:
            places = {"chief": ["h1"], "ps": ["h3"], "evaluator": ["h1"]}
        for name, task in tasks.items():
            if name in places:
                task["hosts"] = places[name]
    return tasks


def _timeouts(cell: Cell, slow: float) -> dict[str, float]:
    limits: dict[str, float] = {"grace_s": 3 * slow, "start_s": 60}
    if cell.fault is Fault.NEVER or (cell.fault is Fault.EXIT_0 and cell.kind is Kind.MWMS):
        limits["start_s"] = 4
    if cell.fault is Fault.STOP:
        limits["stalled_s"] = 3 * slow
    return limits


def processes(mark: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield what lives of a cell's tasks on any host: pid, environment, command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
            if f"CHAOS_MARK={mark}".encode() in environ.split(b"\0"):
                yield int(entry.name), environ, (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile


def pids(mark: str, task: str) -> list[int]:
    """Return the processes of a task that run its trainer."""
    found = []
    for pid, environ, command in processes(mark):
        program = command.split(b"\0")[0].rpartition(b"/")[2]
        if not program.startswith(b"python"):
            continue  # a container's init
        texts = [e for e in environ.split(b"\0") if e.startswith(b"TF_CONFIG=")]
        if not texts:
            continue
        own = json.loads(texts[0].partition(b"=")[2])["task"]
        if f"{own['type']}:{own['index']}" == task:
            found.append(pid)
    return found
