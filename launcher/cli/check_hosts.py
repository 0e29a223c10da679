"""`launch check --hosts`: all hosts of a cluster asked at once, and all that is wrong told.

Nothing is started but listeners for as long as the hosts dial each other, and nothing is left.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from launcher import facts, hosts, preflight, questions
from launcher.at_once import attempts
from launcher.cli.arguments import Words
from launcher.cli.asked import Asked
from launcher.cli.before_run import CONTAINER_PYTHON, meet_over_network, passes_of
from launcher.cli.command import Command
from launcher.cli.containers import engine_here, plan_on
from launcher.cli.interrupts import held_back
from launcher.cli.prompt import ask_unseen
from launcher.cluster import ClusterSpec
from launcher.connectivity.matrix import Matrix, matrix_of
from launcher.engine import Engine
from launcher.errors import HostError, InputError, Problem
from launcher.hosts import Machine
from launcher.images.outlook import Expected
from launcher.layout import Job
from launcher.logins import Logins
from launcher.plan import Plan
from launcher.readings import Reading, read
from launcher.size import shown
from launcher.survey import Survey, survey
from launcher.table import table


class Checked(NamedTuple):
    """What came of a check of hosts.

    silent: by name, why a host says nothing.
    readings, surveys: of the others.
    unplanned: why the tasks do not fit on the hosts.
    matrix: None where there are no pairs of hosts to try.
    """

    spec: ClusterSpec
    silent: Mapping[str, str]
    readings: Mapping[str, Reading]
    surveys: Mapping[str, Survey]
    plan: Plan | None
    unplanned: tuple[Problem, ...]
    matrix: Matrix | None

    def problems(self) -> Iterator[Problem]:
        """Yield all that is wrong, by host."""
        yield from self.unplanned
        for name in self.spec.hosts:
            for what in self._of_host(name):
                yield Problem(name, what)
        for line in self.matrix.problems if self.matrix else ():
            yield Problem("", line)

    def _of_host(self, name: str) -> Iterator[str]:
        if name in self.silent:
            yield _without(name, self.silent[name])
            return
        if self.plan:
            found = preflight.problems(self.plan, {name: self.readings[name]})
            yield from (_without(name, line) for line in found)
        yield from self.surveys[name].problems

    def notes(self) -> Iterator[str]:
        """Yield what is odd and keeps nobody from a run."""
        yield from self.spec.notes
        lacking = {name: each.image.lacking_bytes for name, each in self.surveys.items()}
        yield from preflight.notes(self.readings, lacking)
        if self.matrix:
            yield from self.matrix.notes


def check_hosts(file: str, spec: ClusterSpec, *, as_json: bool) -> int:
    """Check the hosts and print what is wrong; return the exit code."""
    checked = _checked(spec)
    problems, notes = tuple(checked.problems()), tuple(checked.notes())
    code = (2 if checked.unplanned else 3) if problems else 0
    if as_json:
        print(json.dumps(_written(checked, problems, notes), indent=2, ensure_ascii=False))
        return code
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}" if problems else ""
    print(f"{file}: {count or 'no problems'}; {spec.in_words}")
    print("\n".join(table(("host", "address", *_COLUMNS), _rows(checked))))
    if checked.matrix:
        print(_in_words(checked.matrix))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in problems:
        print(f"launch: {problem}", file=sys.stderr)
    return code


def _checked(spec: ClusterSpec) -> Checked:
    run_id = facts.new_run_id("check")
    asked = Asked(
        Job("check", None, ("true",), os.getcwd()),
        spec,
        run_id,
        f"/{run_id}",
        Command(Words({}, [], False), os.getcwd()),
    )
    asking = questions.of_hosts(spec.hosts, spec)
    scripts = {name: question.script for name, question in asking.items()}
    with (
        Logins(spec.hosts, ask_unseen(), scripts) as logins,
        hosts.opened(spec.hosts, logins) as (machines, unreached),
    ):
        readings, mute = read(machines.values(), asking)
        silent = {**unreached, **mute}
        plan: Plan | None = None
        unplanned: tuple[Problem, ...] = ()
        try:
            plan = plan_on(asked, readings, silent)
        except InputError as error:
            unplanned = error.problems
        there = {name: machine for name, machine in machines.items() if name in readings}
        with held_back(), ThreadPoolExecutor(1, "matrix") as pool:
            taken = {name: reading.taken_ports for name, reading in readings.items()}
            trying = pool.submit(_matrix, spec, plan, there, logins, taken)
            surveys, lost = _surveys(spec, there, readings)
        readings = {
            n: r._replace(disk=surveys[n].disk) for n, r in readings.items() if n in surveys
        }
        return Checked(spec, {**silent, **lost}, readings, surveys, plan, unplanned,
                       trying.result())  # fmt: skip


def _matrix(
    spec: ClusterSpec,
    plan: Plan | None,
    machines: Mapping[str, Machine],
    logins: Logins,
    taken: Mapping[str, frozenset[int]],
) -> Matrix | None:
    if plan is None or not meet_over_network(plan):
        return None
    python = spec.python or CONTAINER_PYTHON
    matrix = matrix_of(plan, python, machines, logins.connection, taken)
    passes = passes_of(spec, plan)
    if matrix.has_passed:
        passes.note()
    elif matrix.problems:
        passes.forget()
    return matrix


def _surveys(
    spec: ClusterSpec, machines: Mapping[str, Machine], readings: Mapping[str, Reading]
) -> tuple[Mapping[str, Survey], Mapping[str, str]]:
    """Return all about each host, and by name why one did not tell it."""
    here: Engine | None = engine_here()
    expected = Expected.of(spec.image or "", spec.image_transfer, here)
    done = attempts(machines.values(), lambda m: survey(m, readings[m.name], spec, expected, here))
    found = dict(zip(machines, done, strict=True))
    lost = {name: str(got) for name, got in found.items() if isinstance(got, HostError)}
    return {n: got for n, got in found.items() if isinstance(got, Survey)}, lost


def _without(name: str, line: str) -> str:
    """Return a line that names its host without that."""
    return line.removeprefix("host ").removeprefix(f"{name}: ")


# showing


_COLUMNS = ("docker", "image", "gpus", "free", "clock")


def _rows(checked: Checked) -> Iterable[tuple[str, ...]]:
    for name, host in checked.spec.hosts.items():
        if name not in checked.surveys:
            yield (name, host.address, *("?" for _ in _COLUMNS))
            continue
        reading, found = checked.readings[name], checked.surveys[name]
        gpus = "-" if reading.gpus is None else str(len(reading.gpus))
        room = shown(found.disk.free_bytes) if found.disk else "?"
        ahead = f"{reading.clock.ahead_s:+.1f} s" if reading.clock else "?"
        yield name, host.address, found.docker, found.image.how or "no way", gpus, room, ahead


def _in_words(matrix: Matrix) -> str:
    """Return what was dialled in a line, and by what means there was something to dial."""
    by: dict[str, list[str]] = {}
    for name, found in matrix.heard.items():
        if found.by:
            by.setdefault(f"{found.by}{f' ({found.why})' if found.why else ''}", []).append(name)
    means = "; ".join(f"{', '.join(names)} by {how}" for how, names in by.items())
    listened = f"; listened: {means}" if means else ""
    return f"{matrix.reached} of {matrix.dials} dials from host to host reached{listened}"


def _written(
    checked: Checked, problems: Iterable[Problem], notes: Iterable[str]
) -> Mapping[str, object]:
    listed = []
    for name, host in checked.spec.hosts.items():
        reading, found = checked.readings.get(name), checked.surveys.get(name)
        each: dict[str, object] = {"host": name, "address": host.address}
        if reading and found:
            each |= {
                "docker": found.docker,
                "image": found.image.how or None,
                "gpus": None if reading.gpus is None else [gpu.uuid for gpu in reading.gpus],
                "data_root": found.disk and found.disk.path,
                "free_bytes": found.disk and found.disk.free_bytes,
                "clock_ahead_s": reading.clock and round(reading.clock.ahead_s, 3),
            }
        listed.append(each)
    matrix = checked.matrix
    dials = matrix and {
        "dials": matrix.dials,
        "reached": matrix.reached,
        "listened_by": {name: each.by or None for name, each in matrix.heard.items()},
    }
    return {
        "problems": [problem._asdict() for problem in problems],
        "notes": list(notes),
        "hosts": listed,
        "connectivity": dials,
    }
