"""What must be true of the hosts before anything is started there: their readings judged.

`check` compares what hosts said (`readings`) with a plan; `notes` says what is odd and keeps
nobody from a run. Both ask nobody. They know hosts with Docker; processes have checks of their own.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from launcher.claim import Claim, holding
from launcher.container import Container
from launcher.errors import HostError
from launcher.gpus import Known
from launcher.plan import HOST_NETWORK, Plan
from launcher.readings import Clock, Disk, Reading
from launcher.size import shown

SKEW_S = 2.0  #: clocks that are further apart are told
ROOM_BYTES = 1 << 30  #: for results, beside the image
_FULL_BYTES = 16 << 20  # with less not even a container can be relied on
_TOOLKIT = (
    "install nvidia-container-toolkit there, then: sudo nvidia-ctk runtime configure "
    "--runtime=docker && sudo systemctl restart docker"
)


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


def notes(
    readings: Mapping[str, Reading], lacking_bytes: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """Return what is odd about hosts, whatever the plan.

    lacking_bytes: by host, what an image that is not there yet will take.
    """
    living = frozenset(run for reading in readings.values() for run in reading.living)
    return tuple(
        f"{name}: {what}"
        for name, reading in readings.items()
        for what in (
            *skewed(reading.clock),
            *low(reading.disk, (lacking_bytes or {}).get(name, 0)),
            *_left_over(reading.ended, living),
        )
    )


def skewed(clock: Clock | None) -> Iterator[str]:
    """Yield what is wrong with a clock, where it is wrong for sure."""
    if clock and abs(clock.ahead_s) > max(SKEW_S, clock.error_s):
        way = "ahead of" if clock.ahead_s > 0 else "behind"
        what = f"its clock is {abs(clock.ahead_s):.1f} s {way} this machine's"
        yield f"{what}; let both be set by NTP (timedatectl set-ntp true)"


def low(disk: Disk | None, image_bytes: int) -> Iterator[str]:
    """Yield that there is little room, where it is less than results and an image take.

    image_bytes: of an image that is not there yet, unpacked. Its layers arrive packed and are
        unpacked beside, so it may take twice that.
    """
    if disk and _FULL_BYTES <= disk.free_bytes < ROOM_BYTES + 2 * image_bytes:
        expected = shown(ROOM_BYTES + 2 * image_bytes)
        what = f"{shown(disk.free_bytes)} are free where its Docker keeps data ({disk.path})"
        yield f"{what}; image and results may take {expected}"


def full(disk: Disk | None) -> Iterator[str]:
    """Yield that there is no room, where there is none to speak of."""
    if disk and disk.free_bytes < _FULL_BYTES:
        what = f"the disk where its Docker keeps data ({disk.path}) is full"
        yield f"{what}: {shown(disk.free_bytes)} are free; make room (docker system prune)"


def _left_over(ended: Mapping[str, int], living: frozenset[str]) -> Iterator[str]:
    for run in sorted(ended.keys() - living):
        count = f"{ended[run]} container{'s' if ended[run] > 1 else ''}"
        yield f"holds {count} of the run {run}, which has ended; `launch collect {run}`"


def _problems(
    containers: Sequence[Container], reading: Reading, host_network: bool
) -> Iterator[str]:
    if not containers:
        return
    yield from full(reading.disk)
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


def _gpu_problems(wanted: Sequence[tuple[str, Container]], reading: Reading) -> Iterator[str]:
    if reading.gpus is not None and not reading.gives_gpus:
        yield f"its Docker cannot give GPUs to containers: {_TOOLKIT}"
    now = time.time()
    holders: dict[str, tuple[str, ...]] = {}
    for claim in reading.claims:
        for uuid in claim.wanted.gpus:
            holders[uuid] = (*holders.get(uuid, ()), holding(claim, now))
    known = Known(reading.gpus, reading.gpus_problem, reading.users, holders)
    yield from known.problems((device_id, container.task) for device_id, container in wanted)
