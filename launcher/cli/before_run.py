"""What is looked at before a run in containers, beyond what would keep it from starting at all."""

import os
from collections.abc import Mapping

from launcher import preflight
from launcher.cli.asked import Asked
from launcher.cli.interrupts import held_back
from launcher.cluster import ClusterSpec
from launcher.connectivity.passes import Passes
from launcher.errors import HostError
from launcher.hosts import Machine
from launcher.logins import Logins
from launcher.plan import HOST_NETWORK, Plan
from launcher.readings import Reading

CONTAINER_PYTHON = "python"


def before_run(
    asked: Asked,
    plan: Plan,
    readings: Mapping[str, Reading],
    machines: Mapping[str, Machine],
    logins: Logins,
) -> Plan:
    """Return the plan with notes on its hosts, which reach each other as far as can be known.

    That is found out where these hosts have not passed it within a day, or with
    `--preflight full`; nothing of this is done with `--preflight none`.

    Raises:
        HostError: hosts that do not reach each other.
    """
    how = asked.options.get("preflight", "auto")
    if how == "none":
        return plan
    notes = preflight.notes({name: readings[name] for name in plan.hosts})
    if asked.spec and meet_over_network(plan):
        passes = passes_of(asked.spec, plan)
        if how == "full" or not passes.is_fresh():
            notes += _connected(asked.spec, plan, machines, logins, passes)
    return plan._replace(notes=(*plan.notes, *notes))


def meet_over_network(plan: Plan) -> bool:
    """Whether a plan's tasks meet over a network: on several hosts they do."""
    return plan.network == HOST_NETWORK and len({task.host for task in plan.tasks}) > 1


def passes_of(spec: ClusterSpec, plan: Plan) -> Passes:
    """Return what is remembered of a plan's hosts."""
    fixed = (
        str(container.address)
        for task, container in zip(spec.tasks, plan.tasks, strict=True)
        if task.port is not None
    )
    used = dict.fromkeys(container.host for container in plan.tasks)
    return Passes((plan.hosts[name].address for name in used), fixed, os.environ)


def _connected(
    spec: ClusterSpec, plan: Plan, machines: Mapping[str, Machine], logins: Logins, passes: Passes
) -> tuple[str, ...]:
    """Return what could not be tried. Raises HostError where hosts do not reach each other."""
    from launcher.connectivity.matrix import matrix_of

    python = spec.python or CONTAINER_PYTHON
    with held_back():
        matrix = matrix_of(plan, python, machines, logins.connection)
    if matrix.problems:
        raise HostError("\n".join(matrix.problems))
    if matrix.has_passed:
        passes.note()
    return matrix.notes
