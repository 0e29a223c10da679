"""What hosts say of themselves before anything is started there, all asked at once.

Each host is asked in one go: its shell answers a script, its Docker lists its containers. What
that means for a plan is `preflight`'s to say. This knows hosts with Docker.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from launcher import claim_notes, gpus
from launcher.at_once import attempts
from launcher.claim import Claim, State
from launcher.creation import RUN_LABEL
from launcher.engine import DEFAULT_SOCKET, EngineError
from launcher.errors import HostError
from launcher.gpus import Gpu
from launcher.host_claims import claims_on
from launcher.hosts import Machine
from launcher.logins import Said
from launcher.placement import HostFacts
from launcher.ports import HOLDING, local_ports
from launcher.questions import Question

# Below the range from which Linux hands out ports for outgoing connections by default.
PORTS = range(20000, 32000)
_PORTS_OFFERED = 512
_MISSING = 404
_LIVING = ("running", "paused", "restarting")


class Clock(NamedTuple):
    """How far a host's clock is ahead of this machine's, and by how much that may be wrong."""

    ahead_s: float
    error_s: float


class Disk(NamedTuple):
    """Where a host's Docker keeps its data, and the room that is free there."""

    path: str
    free_bytes: int


class Folder(NamedTuple):
    """A folder of a host: whose it is, and its permission bits."""

    path: str
    uid: int
    gid: int
    mode: int


class Reading(NamedTuple):
    """What one host said.

    taken_ports: those that a process has, or that a run of processes there was given.
    gpus: None where the host's nvidia-smi shows none, or it was not asked.
    gpus_problem: what the shell or nvidia-smi said then.
    users: for a GPU's UUID, what uses it now that is of no run: `python (pid 12)`, `container web`.
    gives_gpus: whether its Docker can give GPUs to containers.
    missing: folders that containers shall see, and that are not there.
    claims: what runs hold there, or wait for.
    clock, disk: None where the host did not say.
    folders: those that tasks shall write to, as far as they can be looked at.
    living: runs of which a container lives here.
    ended: by run, how many of its containers have ended here a minute ago or before.
    """

    taken_ports: frozenset[int] = frozenset()
    gpus: tuple[Gpu, ...] | None = None
    gpus_problem: str = ""
    users: Mapping[str, tuple[str, ...]] = {}
    gives_gpus: bool = False
    missing: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    clock: Clock | None = None
    disk: Disk | None = None
    folders: tuple[Folder, ...] = ()
    living: frozenset[str] = frozenset()
    ended: Mapping[str, int] = {}

    def gpu(self, device_id: str) -> Gpu | None:
        """Return the GPU that an index, a UUID or the beginning of one names."""
        return gpus.named(self.gpus or (), device_id)

    def gpu_uuid(self, device_id: str) -> str | None:
        """Return the UUID of the GPU that something names."""
        gpu = self.gpu(device_id)
        return gpu.uuid if gpu else None

    def without(self, run: str = "") -> "Reading":
        """Return it as if this run, or all runs, held nothing there."""
        left = tuple(each for each in self.claims if run and each.run != run)
        ports = {p for each in self.claims if each not in left for p in each.wanted.ports}
        return self._replace(claims=left, taken_ports=self.taken_ports - ports)

    def facts(self, *, claimed_too: bool = False) -> HostFacts:
        """Return what planning must know: free ports, and the GPUs that nobody uses.

        claimed_too: whether those that runs hold come after them, the least wanted first.
        """
        start = int.from_bytes(os.urandom(4), "big")
        order = (PORTS[(start + step) % len(PORTS)] for step in range(len(PORTS)))
        claimed = {port for each in self.claims for port in each.wanted.ports}
        free = (port for port in order if port not in self.taken_ports and port not in claimed)
        ports = tuple(port for port, _ in zip(free, range(_PORTS_OFFERED), strict=False))
        wanted = {
            g.uuid: sum(g.uuid in c.wanted.gpus for c in self.claims) for g in self.gpus or ()
        }
        idle = [gpu for gpu in self.gpus or () if not self.users.get(gpu.uuid)]
        offered = sorted(
            (gpu for gpu in idle if claimed_too or not wanted[gpu.uuid]),
            key=lambda gpu: wanted[gpu.uuid],
        )
        return HostFacts(ports, tuple(gpu.number for gpu in offered))


def read(
    machines: Iterable[Machine], questions: Mapping[str, Question]
) -> tuple[Mapping[str, Reading], Mapping[str, str]]:
    """Return what each host said, all asked at once, and by name why others said nothing."""
    asked = list(machines)
    said = attempts(asked, lambda machine: _reading(machine, questions[machine.name]))
    readings = {m.name: got for m, got in zip(asked, said, strict=True) if isinstance(got, Reading)}
    silent = {m.name: str(g) for m, g in zip(asked, said, strict=True) if isinstance(g, HostError)}
    return readings, silent


def _reading(machine: Machine, question: Question) -> Reading:
    said = machine.ask(question.script)
    sections = _sections(said.text)
    if "end" not in sections:
        raise HostError(f"{machine.name}: its login shell runs no `sh`, which is asked what it has")
    listed = _containers(machine)
    containers = [(each["Id"], _labels(each)) for each in listed if each["State"] in _LIVING]
    notes = claim_notes.notes_in(sections.get("runs", ()))
    ports = {int(note.what[5:]) for note in notes if note.what.startswith("port-")}
    ports |= local_ports(sections.get("ports", ()), HOLDING)
    reading = Reading(
        frozenset(ports),
        missing=tuple(sections.get("missing", ())),
        clock=clock(said, sections.get("clock", ())),
        # Of another engine than the usual one the script does not know where its data is.
        disk=_disk(sections) if machine.engine.path == DEFAULT_SOCKET else None,
        folders=tuple(_folders(sections.get("folders", ()))),
        living=frozenset(labels[RUN_LABEL] for _, labels in containers if RUN_LABEL in labels),
        ended=_ended(listed),
    )
    if question.gpus:
        lines = sections.get("gpus", ())
        reading = reading._replace(gpus=_gpus(lines), gpus_problem=lines[0] if lines else "")
        reading = reading._replace(gives_gpus=_gives_gpus(machine, sections))
    reading = reading._replace(claims=claims_on(machine, containers, reading.gpu_uuid))
    if not question.gpus:
        return reading
    users = _users(reading, sections.get("apps", ()), machine, containers)
    uuids = {gpu.number: gpu.uuid for gpu in reading.gpus or ()}
    return reading._replace(users=users | claim_notes.gpu_users(notes, uuids))


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            lines = sections.setdefault(line[1:], [])
        elif line.strip():
            lines.append(line.strip())
    return sections


def _gpus(lines: Sequence[str]) -> tuple[Gpu, ...] | None:
    """Return the GPUs that nvidia-smi lists; None where it failed, or is not there."""
    if "none" in lines:
        return None
    return gpus.listed(lines)


def _containers(machine: Machine) -> list[Mapping[str, Any]]:
    """Return every container of a host, those that have ended too."""
    with machine.engine.errors("does not list its containers"):
        listed: list[Mapping[str, Any]] = machine.engine.api.containers(all=True)
    return listed


def _labels(listed: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = listed.get("Labels") or {}
    return labels


def _ended(listed: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return by run how many of its containers ended a while ago.

    What ended seconds ago (as `Exited (0) 5 seconds ago`) is likely being brought home.
    """
    count: dict[str, int] = {}
    for each in listed:
        run = _labels(each).get(RUN_LABEL)
        if run and each["State"] in ("exited", "dead") and "second" not in each.get("Status", ""):
            count[run] = count.get(run, 0) + 1
    return count


def clock(said: Said, lines: Sequence[str]) -> Clock | None:
    """Return what two looks at a host's clock tell, the way there and back taken off (as in NTP).

    The answer may have spent its time on either way: half of that is what may be wrong.
    """
    looks = [_seconds(line) for line in lines]
    if len(looks) != 2 or None in looks:
        return None
    first, last = (look for look in looks if look is not None)
    ahead_s = ((first - said.asked_at) + (last - said.answered_at)) / 2
    on_the_way_s = (said.answered_at - said.asked_at) - (last - first)
    return Clock(ahead_s, max(0.0, on_the_way_s / 2))


def _seconds(text: str) -> float | None:
    """Return what `date +%s.%N` printed; not every `date` knows the part behind the point."""
    found = re.match(r"(\d+)(\.\d+)?", text)
    if found is None:
        return None
    return float(found[0]) if found[2] else int(found[1]) + 0.5


def _disk(sections: Mapping[str, Sequence[str]]) -> Disk | None:
    lines = sections.get("disk", ())
    return free(lines[0], lines[-1]) if lines else None


def free(path: str, line: str) -> Disk | None:
    """Return what a line of `df -Pk` tells, None where it is none."""
    found = re.search(r"\s\d+\s+\d+\s+(-?\d+)\s+\S+\s+/", line)
    return Disk(path, max(0, int(found[1])) << 10) if found else None


def _folders(lines: Iterable[str]) -> Iterator[Folder]:
    for line in lines:
        found = re.fullmatch(r"(\d+) (\d+) ([0-7]+) (.+)", line)
        if found:
            yield Folder(found[4], int(found[1]), int(found[2]), int(found[3], 8))


def _users(
    reading: Reading,
    apps: Iterable[str],
    machine: Machine,
    containers: Iterable[tuple[str, Mapping[str, str]]],
) -> dict[str, tuple[str, ...]]:
    """Return by UUID what uses a GPU that no run holds: its processes, and containers."""
    users = gpus.users(apps)
    for container_id, labels in containers:
        if RUN_LABEL in labels:
            continue
        name, ids = _given(machine, container_id)
        for gpu in reading.gpus or () if ids == ("all",) else map(reading.gpu, ids):
            if gpu is not None:
                users[gpu.uuid] = (*users.get(gpu.uuid, ()), f"container {name}")
    held = {uuid for c in reading.claims if c.state is State.HELD for uuid in c.wanted.gpus}
    return {uuid: named for uuid, named in users.items() if uuid not in held}


def _given(machine: Machine, container_id: str) -> tuple[str, tuple[str, ...]]:
    """Return a running container's name and the GPU ids that it was given; `all` for all."""
    try:
        with machine.engine.errors("does not describe a container"):
            described = machine.engine.api.inspect_container(container_id)
    except EngineError as error:
        if error.status == _MISSING:  # it has ended meanwhile, and uses nothing any more
            return "", ()
        raise
    for asked in described["HostConfig"].get("DeviceRequests") or ():
        if any("gpu" in capabilities for capabilities in asked.get("Capabilities") or ()):
            return str(described["Name"]).lstrip("/"), tuple(asked.get("DeviceIDs") or ()) or (
                "all",
            )
    return "", ()


def _gives_gpus(machine: Machine, sections: Mapping[str, Sequence[str]]) -> bool:
    """Whether the engine knows NVIDIA's runtime, or finds its hook, or devices by CDI."""
    with machine.engine.errors("does not describe itself"):
        info = machine.engine.api.info()
    devices = str(info.get("DiscoveredDevices") or "")
    return (
        "nvidia" in (info.get("Runtimes") or {})
        or "nvidia" in devices
        or bool(sections.get("hook"))
    )
