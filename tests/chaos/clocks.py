"""Hosts whose clocks are wrong, each by another time, and what a launcher must make of that."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos import world
from tests.chaos.cells import Cell, Fault
from tests.chaos.trial import Trial
from tests.testbed import Testbed

_AHEAD_S = (0, 40, -25)  # of h1, h2, h3
_MOMENT_S = 5.0


@contextmanager
def skewed(cell: Cell, bed: Testbed | None) -> Iterator[None]:
    """Have the hosts' clocks differ as long as the block lasts, where a cell wants that."""
    hosts = bed.hosts[: world.HOSTS] if bed and cell.fault is Fault.SKEW else ()
    try:
        for host, ahead_s in zip(hosts, _AHEAD_S, strict=False):
            if ahead_s:
                host.skew_clock(ahead_s)
        yield
    finally:
        for host in hosts:
            host.mend_clock()


def check_times(trial: Trial) -> None:
    """Both clocks were told before the run; every time of its report is by the launcher's own."""
    told = (trial.user.folder / "console.txt").read_text()
    for host, how in (("h2", "40.0 s ahead of"), ("h3", "25.0 s behind")):
        found = re.search(rf"note: {host}: its clock is ([\d.]+ s \w+( of)?)", told)
        assert found and _near(found[1], how), (host, told)
    report = trial.user.report()
    for task in report["tasks"]:
        assert 0 <= task["duration_s"] <= report["duration_s"], report
    for seconds in re.findall(r", ([\d.]+) s (?:later|earlier)$", told, re.MULTILINE):
        assert float(seconds) < _MOMENT_S, told


def _near(told: str, wanted: str) -> bool:
    """Whether two skews are the same but for what a question's way takes."""
    (one, _, how), (other, _, same) = told.partition(" s "), wanted.partition(" s ")
    return how == same and abs(float(one) - float(other)) < 1
