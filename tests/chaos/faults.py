"""The faults: what each breaks while a run is under way, and what mends it."""

import os
import signal
import time
from collections.abc import Callable

from tests.chaos import world
from tests.chaos.cells import Cell, Fault, Where
from tests.conftest import until
from tests.testbed import Testbed
from tests.testbed.engine import Engine

SIGNALS = {
    Fault.KILL: signal.SIGKILL,
    Fault.STOP: signal.SIGSTOP,
    Fault.EXIT_1: signal.SIGUSR2,
    Fault.EXIT_0: signal.SIGHUP,
}
CUT_S = 5.0


def send(mark: str, task: str, signum: signal.Signals) -> None:
    """Send a signal to a task, wherever it runs."""
    until(lambda: bool(world.pids(mark, task)), f"{task}'s process")
    for pid in world.pids(mark, task):
        os.kill(pid, signum)


def engine_of(cell: Cell, bed: Testbed, task: str) -> Engine:
    """Return the engine on which a task's container runs, by where `world` places it."""
    if cell.where is Where.LOCAL:
        return bed.local
    host = {"chief:0": 0, "worker:0": 1, "worker:1": 2, "ps:0": 2, "evaluator:0": 0}[task]
    return bed.hosts[host].engine


def break_host(cell: Cell, bed: Testbed) -> None:
    """Break what a cell breaks of a host; returns when it is broken, or mended again."""
    h2 = bed.hosts[1]
    match cell.fault:
        case Fault.DOCKERD:
            engine = bed.local if cell.where is Where.LOCAL else bed.hosts[0].engine
            engine.stop()
            engine.start()
            engine.await_ready()
        case Fault.CUT_SHORT:
            h2.cut()
            time.sleep(CUT_S)  # the fault itself lasts so long
            h2.heal()
        case Fault.CUT | Fault.CUT_MOVE:
            h2.cut()
        case Fault.DROP_SSH:
            for host in bed.hosts[: world.HOSTS]:
                host.drop_ssh()


def remove(cell: Cell, bed: Testbed, run: str) -> None:
    """Remove the container of a cell's task, as a person does by mistake."""
    slug = cell.target.replace(":", "-")
    engine_of(cell, bed, cell.target).docker("rm", "-f", f"launch-{run}-{slug}-1")


def steal(cell: Cell, bed: Testbed | None, address: str) -> Callable[[], None]:
    """Listen where a task is going to; return what ends that."""
    import subprocess

    port = address.rpartition(":")[2]
    code = (
        f"import socket, sys; s = socket.socket(); s.bind(('', {port})); s.listen(); "
        "print('there', flush=True); sys.stdin.read()"
    )
    words: tuple[str, ...] = ("python3", "-c", code)
    if cell.where is Where.HOSTS:
        assert bed is not None
        host = {"chief": 0, "worker": 1, "ps": 2}[cell.role]
        words = bed.hosts[host].machine.enter("/usr/bin/python3", "-c", code)
    thief = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert thief.stdout and thief.stdout.readline() == b"there\n"

    def end() -> None:
        thief.communicate()  # it ends with its input

    return end
