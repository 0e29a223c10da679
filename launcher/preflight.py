"""What must be true of the hosts before anything is started there, read from all at once.

`read` asks each host in one go; `check` compares what it said with a plan. Both know hosts with
Docker; processes have checks of their own.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher.at_once import attempts
from launcher.container import Container
from launcher.creation import GPUS_LABEL, PORT_LABEL
from launcher.engine import EngineError
from launcher.errors import HostError
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

    taken_ports: those that a process has, or that another run's container was given.
    gpus: None where the host's nvidia-smi shows none, or it was not asked.
    gpus_problem: what the shell or nvidia-smi said then.
    users: for a GPU's UUID, what uses it now: `python (pid 12)`, `container web`.
    gives_gpus: whether its Docker can give GPUs to containers.
    missing: folders that containers shall see, and that are not there.
    """

    taken_ports: frozenset[int] = frozenset()
    gpus: tuple[Gpu, ...] | None = None
    gpus_problem: str = ""
    users: Mapping[str, tuple[str, ...]] = {}
    gives_gpus: bool = False
    missing: tuple[str, ...] = ()

    def gpu(self, device_id: str) -> Gpu | None:
        """Return the GPU that an index, a UUID or the beginning of one names."""
        for gpu in self.gpus or ():
            if device_id == gpu.number or (
                device_id.startswith("GPU-") and gpu.uuid.startswith(device_id)
            ):
                return gpu
        return None

    def facts(self) -> HostFacts:
        """Return what planning must know: free ports, and the GPUs that nobody uses."""
        start = int.from_bytes(os.urandom(4), "big")
        order = (PORTS[(start + step) % len(PORTS)] for step in range(len(PORTS)))
        free = (port for port in order if port not in self.taken_ports)
        ports = tuple(port for port, _ in zip(free, range(_PORTS_OFFERED), strict=False))
        idle = tuple(gpu.number for gpu in self.gpus or () if not self.users.get(gpu.uuid))
        return HostFacts(ports, idle)


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
    """Return all that keeps the hosts that were read from carrying out their part of a plan."""
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
        for container in containers:
            port = container.address.port
            if port in reading.taken_ports:
                yield f"port {port}, which {container.task} shall have, is taken"
    wanted = [(device_id, c) for c in containers for device_id in c.gpus]
    if not wanted:
        return
    yield from _gpu_problems(wanted, reading)


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
        elif users := reading.users.get(gpu.uuid):
            yield f"{what}, is used by {', '.join(users)}"
        elif given.setdefault(gpu.uuid, device_id) != device_id:
            yield f"{what}, is the one that its `gpus` name as {given[gpu.uuid]} too"


def _reading(machine: Machine, question: Question) -> Reading:
    sections = _sections(machine.shell(question.script))
    if "end" not in sections:
        raise HostError(f"{machine.name}: its login shell runs no `sh`, which is asked what it has")
    containers = _containers(machine)
    ports = frozenset(_taken(sections.get("ports", ()), containers))
    reading = Reading(ports, missing=tuple(sections.get("missing", ())))
    if not question.gpus:
        return reading
    lines = sections.get("gpus", ())
    reading = reading._replace(gpus=_gpus(lines), gpus_problem=lines[0] if lines else "")
    users = _users(reading, sections.get("apps", ()), machine, containers)
    return reading._replace(users=users, gives_gpus=_gives_gpus(machine, sections))


def _taken(
    lines: Iterable[str], containers: Iterable[tuple[str, Mapping[str, str]]]
) -> Iterator[int]:
    """Yield the ports that the host's kernel has in use, and those that containers were given."""
    yield from local_ports(lines, HOLDING)
    yield from (int(labels[PORT_LABEL]) for _, labels in containers if PORT_LABEL in labels)


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
) -> Mapping[str, tuple[str, ...]]:
    """Return by UUID what uses a GPU: its processes, and the containers that were given it."""
    users: dict[str, tuple[str, ...]] = {}
    for line in apps:
        uuid, _, rest = line.partition(",")
        pid, _, name = rest.partition(",")
        users[uuid.strip()] = (*users.get(uuid.strip(), ()), f"{name.strip()} (pid {pid.strip()})")
    for container_id, labels in containers:
        name, ids = _given(machine, container_id, labels)
        for gpu in reading.gpus or () if ids == ("all",) else map(reading.gpu, ids):
            if gpu is not None:
                users[gpu.uuid] = (*users.get(gpu.uuid, ()), f"container {name}")
    return users


def _given(
    machine: Machine, container_id: str, labels: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Return a running container's name and the GPU ids that it was given; `all` for all."""
    try:
        with machine.engine.errors("does not describe a container"):
            described = machine.engine.api.inspect_container(container_id)
    except EngineError as error:
        if error.status == _MISSING:  # it has ended meanwhile, and uses nothing any more
            return "", ()
        raise
    name = str(described["Name"]).lstrip("/")
    if GPUS_LABEL in labels:
        return name, tuple(labels[GPUS_LABEL].split(","))
    for asked in described["HostConfig"].get("DeviceRequests") or ():
        if any("gpu" in capabilities for capabilities in asked.get("Capabilities") or ()):
            return name, tuple(asked.get("DeviceIDs") or ()) or ("all",)
    return name, ()


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
