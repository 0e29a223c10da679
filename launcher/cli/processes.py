"""A run of processes on this machine: checked, its GPUs and ports claimed, performed."""

import os
from collections.abc import Mapping

from launcher import claims
from launcher.backends import process
from launcher.cli import say_error
from launcher.cli.command import Command
from launcher.cli.perform import perform
from launcher.placement import Moves
from launcher.places import Replan
from launcher.plan import Plan
from launcher.task import TaskId


def perform_processes(
    plan: Plan,
    fixed_ports: Mapping[TaskId, int],
    replan: Replan,
    asked: Command,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Run a plan of processes to its end and report; return the exit code.

    wait: whether to wait for GPUs and ports that other runs hold.

    Raises:
        InputError, HostError: nothing was started.
    """
    process.check(plan, {})
    if takes_gpus := any(task.gpus for task in plan.tasks):
        from launcher import gpus_here

        gpus_here.check_there(plan.tasks)
    if asked.goes_on:
        from launcher import leftovers

        leftovers.end(plan, say_error)  # what lives holds what it was given
    with claims.Claims(plan.run_id, lambda text: say_error(f"launch: {text}")) as held:
        held.take(claims.wanted(plan.tasks), wait=wait)
        process.check(plan, fixed_ports)
        if takes_gpus:
            gpus_here.check_idle(plan.tasks)

        def again(moves: Moves) -> Plan:
            other = replan(moves)
            held.take(claims.wanted(other.tasks), wait=False)
            return other

        backend = process.ProcessBackend(plan, os.environ, held.descriptors)
        return perform(plan, lambda _: backend, again, asked, as_json=as_json)
