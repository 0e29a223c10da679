"""What must be true of the hosts before anything is started there, read from all at once.

`read` asks each host in one go; `check` compares what it said with a plan. Both know hosts with
Docker; processes have checks of their own.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher import claims
from launcher.at_once import attempts
from launcher.claim import Claim, State, holding
from launcher.container import Container
from launcher.creation import RUN_LABEL
from launcher.engine import EngineError
from launcher.errors import HostError
from launcher.host_claims import claims_on
from launcher.hosts import Machine
from launcher.placement import HostFacts
from launcher.plan import HOST_NETWORK, Plan
from launcher.ports import HOLDING, local_ports
from launcher.questions import Question

# Below the range from which Linux hands out ports for outgoing connections by default.
PORTS = range(20000, 32000)
_PORTS_OFFERED = 512
_MISSING = 404
_TOOLKIT = (
    "install nvidia-container-toolkit there, then: sudo nvidia-ctk runtime configure "
    "--runtime=docker && sudo systemctl restart docker"
)


class Gpu(NamedTuple):
    """A GPU as its host's nvidia-smi names it."""

    number: str
    uuid: str


class Reading(NamedTuple):
    """What one host said.

    taken_ports: those that a process has, or that a run of processes there was given.
    gpus: None where the host's nvidia-smi shows none, or it was not asked.
    gpus_problem: what the shell or nvidia-smi said then.
    users: for a GPU's UUID, what uses it now that is of no run: `python (pid 12)`, `container web`.
    gives_gpus: whether its Docker can give GPUs to containers.
    missing: folders that containers shall see, and that are not there.
    claims: what runs hold there, or wait for.
    """

    taken_ports: frozenset[int] = frozenset()
    gpus: tuple[Gpu, ...] | None = None
    gpus_problem: str = ""
    users: Mapping[str, tuple[str, ...]] = {}
    gives_gpus: bool = False
    missing: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()

    def gpu(self, device_id: str) -> Gpu | None:
        """Return the GPU that an index, a UUID or the beginning of one names."""
        for gpu in self.gpus or ():
            if device_id == gpu.number or (
                device_id.startswith("GPU-") and gpu.uuid.startswith(device_id)
            ):
                return gpu
        return None

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


def problems(plan: Plan, readings: Mapping[str, Reading]) -> tuple[str, ...]:
    """Return all that keeps the hosts that were read from carrying out their part of a plan.

    What other runs hold is among it; see `Reading.claims`.
    """
    return tuple(
        f"{name}: {what}"
        for name, reading in readings.items()
        for what in _problems(
            [c for c in plan.tasks if c.host == name], reading, plan.network == HOST_NETWORK
        )
    )


def check(plan: Plan, readings: Mapping[str, Reading]) -> None:
    """Refuse a plan that its hosts cannot carry out.

    Raises:
        HostError: with everything that is wrong, a line each.
    """
    found = problems(plan, readings)
    if found:
        raise HostError("\n".join(found))


def _problems(
    containers: Sequence[Container], reading: Reading, host_network: bool
) -> Iterator[str]:
    if not containers:
        return
    yield from (f"there is no {path}; containers shall see it" for path in reading.missing)
    if host_network:
        yield from _port_problems(containers, reading)
    wanted = [(device_id, c) for c in containers for device_id in c.gpus]
    if not wanted:
        return
    yield from _gpu_problems(wanted, reading)


def _port_problems(containers: Iterable[Container], reading: Reading) -> Iterator[str]:
    for container in containers:
        port = container.address.port
        what = f"port {port}, which {container.task} shall have"
        holders = [each for each in reading.claims if port in each.wanted.ports]
        if holders:
            yield f"{what}, is {_held(holders)}"
        elif port in reading.taken_ports:
            yield f"{what}, is taken"


def _held(claims: Iterable[Claim]) -> str:
    now = time.time()
    return ", ".join(holding(each, now) for each in claims)


def _gpu_problems(wanted: Iterable[tuple[str, Container]], reading: Reading) -> Iterator[str]:
    if reading.gpus is None:
        is_there = reading.gpus_problem and "not found" not in reading.gpus_problem
        what = (
            f"nvidia-smi fails ({reading.gpus_problem})" if is_there else "there is no nvidia-smi"
        )
        yield f"{what}; install NVIDIA's driver, or lend no GPUs of this host"
        return
    if not reading.gives_gpus:
        yield f"its Docker cannot give GPUs to containers: {_TOOLKIT}"
    shown = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in reading.gpus) or "none"
    given: dict[str, str] = {}
    for device_id, container in wanted:
        gpu = reading.gpu(device_id)
        what = f"GPU {device_id}, which {container.task} shall have"
        if gpu is None:
            yield f"has no {what}; it has {shown}"
        elif holders := [each for each in reading.claims if gpu.uuid in each.wanted.gpus]:
            yield f"{what}, is {_held(holders)}"
        elif users := reading.users.get(gpu.uuid):
            yield f"{what}, is used by {', '.join(users)}"
        elif given.setdefault(gpu.uuid, device_id) != device_id:
            yield f"{what}, is the one that its `gpus` name as {given[gpu.uuid]} too"


def _reading(machine: Machine, question: Question) -> Reading:
    sections = _sections(machine.shell(question.script))
    if "end" not in sections:
        raise HostError(f"{machine.name}: its login shell runs no `sh`, which is asked what it has")
    containers = _containers(machine)
    notes = claims.notes_in(sections.get("runs", ()))
    ports = {int(note.what[5:]) for note in notes if note.what.startswith("port-")}
    ports |= local_ports(sections.get("ports", ()), HOLDING)
    reading = Reading(frozenset(ports), missing=tuple(sections.get("missing", ())))
    if question.gpus:
        lines = sections.get("gpus", ())
        reading = reading._replace(gpus=_gpus(lines), gpus_problem=lines[0] if lines else "")
        reading = reading._replace(gives_gpus=_gives_gpus(machine, sections))
    reading = reading._replace(claims=claims_on(machine, containers, reading.gpu_uuid))
    if not question.gpus:
        return reading
    users = _users(reading, sections.get("apps", ()), machine, containers)
    uuids = {gpu.number: gpu.uuid for gpu in reading.gpus or ()}
    return reading._replace(users=users | claims.gpu_users(notes, uuids))


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
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return tuple(Gpu(row[0], row[1]) for row in rows if len(row) == 2)


def _containers(machine: Machine) -> list[tuple[str, Mapping[str, str]]]:
    """Return each running container's id with its labels."""
    with machine.engine.errors("does not list its containers"):
        listed = machine.engine.api.containers()
    return [(each["Id"], each.get("Labels") or {}) for each in listed]


def _users(
    reading: Reading,
    apps: Iterable[str],
    machine: Machine,
    containers: Iterable[tuple[str, Mapping[str, str]]],
) -> dict[str, tuple[str, ...]]:
    """Return by UUID what uses a GPU that no run holds: its processes, and containers."""
    users: dict[str, tuple[str, ...]] = {}
    for line in apps:
        uuid, _, rest = line.partition(",")
        pid, _, name = rest.partition(",")
        users[uuid.strip()] = (*users.get(uuid.strip(), ()), f"{name.strip()} (pid {pid.strip()})")
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
