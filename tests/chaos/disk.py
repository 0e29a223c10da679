"""A small disk for what a cell writes, and how it is filled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.chaos import world
from tests.chaos.cells import Cell, Fault, Where
from tests.conftest import Launching
from tests.testbed import Testbed
from tests.testbed.machine import Machine

_BYTES = "2m"


@contextmanager
def small(cell: Cell, user: Launching, bed: Testbed | None) -> Iterator[Callable[[], None]]:
    """Have the tasks' results on a small disk as long as the block lasts; give what fills it.

    Before the cluster has formed it is full from the start, and so small that no container can be
    made.
    """
    if cell.fault is not Fault.DISK:
        yield lambda: None
        return
    if cell.where is Where.PROCESS or bed is None:
        with _small_here(cell, user) as fill:
            yield fill
        return
    machine, root = bed.hosts[0].machine, "/var/lib/docker"
    if cell.where is Where.LOCAL:
        machine, root = bed.local.machine, str(bed.local.data_root)
    name, size = ("volumes", _BYTES) if cell.breaks_later else ("containers", "4k")
    folder = f"{root}/{name}"
    if cell.breaks_later and world.shares_checkpoints(cell):
        folder = world.SHARED
    machine.exec("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield lambda: _fill(machine, folder)
    finally:
        machine.exec("umount", "-l", folder)


def _fill(machine: Machine, folder: str) -> None:
    machine.exec("sh", "-c", f"cat /dev/zero >{folder}/filler 2>/dev/null", check=False)


@contextmanager
def _small_here(cell: Cell, user: Launching) -> Iterator[Callable[[], None]]:
    import subprocess

    disk = user.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        (disk / "runs").mkdir()
        (user.folder / "runs").symlink_to(disk / "runs")
        if not cell.breaks_later:
            _fill_here(str(disk))
        yield lambda: _fill_here(str(disk))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill_here(folder: str) -> None:
    import subprocess

    subprocess.run(["sh", "-c", f"cat /dev/zero >{folder}/filler 2>/dev/null"], check=False)
