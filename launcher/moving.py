"""Other places for a run's tasks while it goes on, whichever launcher began it.

The hosts are read again, and what a plan takes of them then is checked, and held, before a task
starts there.
"""

from collections.abc import Mapping
from pathlib import Path

from launcher import claiming, preflight
from launcher.claiming import Claims
from launcher.errors import HostError
from launcher.hosts import Machine
from launcher.lease import ChiefLease
from launcher.placement import Moves
from launcher.plan import Plan
from launcher.planned import note_hosts
from launcher.questions import Question
from launcher.readings import Reading, read


def read_again(
    run_id: str,
    machines: Mapping[str, Machine],
    questions: Mapping[str, Question],
    lost: frozenset[str],
) -> Mapping[str, Reading]:
    """Return what the hosts that are not lost have, as if the run held nothing there.

    Raises:
        HostError: one of them does not say.
    """
    there = [machine for name, machine in machines.items() if name not in lost]
    readings, silent = read(there, questions)
    if silent:
        raise HostError("\n".join(silent.values()))
    return {name: reading.without(run_id) for name, reading in readings.items()}


def held(
    plan: Plan,
    machines: Mapping[str, Machine],
    readings: Mapping[str, Reading],
    claims: Claims,
    lease: ChiefLease,
    moves: Moves,
) -> Plan:
    """Return a plan for other places once the run holds what it takes: the lease too.

    What stays uses its place already.

    Raises:
        InputError, HostError: something is in the way.
    """
    starting = tuple(container for container in plan.tasks if container.task in moves.starting)
    preflight.check(plan._replace(tasks=starting), readings)
    lease.follow(plan.tasks[0].host)
    claims.take(claiming.wanted(plan, readings), claiming.names(readings), (), wait=False)
    note_hosts(Path(plan.run_dir), {c.host: machines[c.host].host for c in starting})
    return plan
