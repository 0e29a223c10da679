"""`launch attach RUN`: take a run's supervision up again, whatever happened meanwhile."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import supervision
from launcher.cli import say_error
from launcher.cli.arguments import Words, parser
from launcher.cli.command import Command
from launcher.cli.reaching import reached, runs_folder
from launcher.cli.which_run import folder_of, hosts_of, name_on_hosts
from launcher.errors import HostError, InputError, Problem

if TYPE_CHECKING:
    from argparse import Namespace

    from launcher.backends import Backend
    from launcher.claiming import Claims
    from launcher.found import Found
    from launcher.hosts import Machine
    from launcher.logs import Console
    from launcher.plan import Plan
    from launcher.task import TaskId


def main(words: list[str]) -> int:
    """Supervise a run again; return the exit code of what it then leads to.

    Where a launcher on this machine does already, its console is shown until the run has ended.
    """
    options = parser("attach").parse_args(words)
    run_dir = folder_of(options.run, runs_folder(options.runs_dir))
    holder = supervision.holder(run_dir) if run_dir and run_dir.is_dir() else None
    if run_dir and holder:
        return _watch(run_dir, holder)
    return take_up(options, run_dir, stop=False)


def take_up(options: "Namespace", run_dir: Path | None, *, stop: bool) -> int:
    """Supervise a run that nobody here supervises, to its end; with `stop`, end it.

    run_dir: its folder here; None where only the hosts know of it.

    Raises:
        InputError: nothing of it is on its hosts.
        HostError: a host cannot be asked, or another launcher supervises the run.
    """
    with reached(hosts_of(options.cluster, run_dir, options.run)) as (machines, unreached):
        name = run_dir.name if run_dir else name_on_hosts(options.run, machines)
        folder = run_dir or runs_folder(options.runs_dir) / name
        try:
            return _take_up(name, folder, machines, stop=stop, as_json=options.json)
        except HostError as error:
            raise HostError("\n".join([str(error), *unreached.values()])) from None


def _watch(run_dir: Path, holder: supervision.Holder) -> int:
    """Show the console of the launcher that supervises a run; ^C leaves it alone."""
    from launcher.cli.detached import CONSOLE, follow

    if holder.host not in ("", socket.gethostname()) or not (run_dir / CONSOLE).exists():
        raise HostError(f"{run_dir.name}: {holder} supervises it (launch logs -f {run_dir.name})")
    return follow(run_dir)


def _take_up(
    run_id: str, run_dir: Path, machines: "Mapping[str, Machine]", *, stop: bool, as_json: bool
) -> int:
    from launcher import plan_label
    from launcher.at_once import at_all
    from launcher.backends.docker import DockerBackend
    from launcher.cli.collect import log_home
    from launcher.cli.containers import homing_s, unreachable_s
    from launcher.cli.interruption import superseded
    from launcher.cli.perform import perform
    from launcher.found import found
    from launcher.heritage import Heritage
    from launcher.lease import Lease
    from launcher.results import Collecting, Results
    from launcher.transfers import Transfers

    there = [one for each in at_all(machines.values(), lambda m: found(m.engine, run_id))
             for one in each]  # fmt: skip
    if not there:
        what = "no container of it is on its hosts; launch resume goes on with a run that ended"
        raise InputError(Problem(run_id, what))
    latest = _latest(there)
    plan = plan_label.read(run_id, max(latest.values(), key=_number).plan, str(run_dir))
    missing = [str(c.task) for c in plan.tasks if c.task not in latest]
    if missing:
        what = f"{', '.join(missing)} never came to be; launch collect brings home what is there"
        raise HostError(f"{run_id}: {what}")
    chief = machines[plan.tasks[0].host]
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    lease = Lease(run_id, chief.name, chief.start, superseded)
    with lease.held(at_once=True), _claimed(plan, machines) as claims:
        earlier = [one for one in there if latest[one.task] is not one]
        at_all(earlier, lambda one: log_home(run_dir, machines[one.host], one))

        def backend(console: "Console") -> "Backend":
            transfers = Transfers(console.show_status if console.is_terminal else None, console.say)
            how = Collecting(run_id, run_dir, False, transfers.report)
            return DockerBackend(
                plan, machines, Heritage(run_id), Results(how), claims, console.say,
                unreachable_s(os.environ), homing_s(os.environ),
            )  # fmt: skip

        asked = Command(Words({}, [], False), str(run_dir.parent), goes_on=True)
        adopted = {task: one.attempt for task, one in latest.items()}
        return perform(plan, backend, None, asked, adopted=adopted, stop=stop, as_json=as_json)


@contextmanager
def _claimed(plan: "Plan", machines: "Mapping[str, Machine]") -> "Iterator[Claims]":
    """Hold again what the run's earlier launcher claimed of its hosts."""
    from launcher import claiming, questions, readings

    question = questions.question(any(c.gpus for c in plan.tasks), ())
    read, silent = readings.read(machines.values(), dict.fromkeys(machines, question))
    if silent:
        raise HostError("\n".join(silent.values()))
    with claiming.Claims(
        plan.run_id, machines, lambda text: say_error(f"launch: {text}")
    ) as claims:
        own = {name: reading.without(plan.run_id) for name, reading in read.items()}
        claims.take(claiming.wanted(plan, own), claiming.names(own), (), wait=False)
        yield claims


def _latest(containers: "list[Found]") -> "dict[TaskId, Found]":
    return {one.task: one for one in sorted(containers, key=_number)}


def _number(one: "Found") -> int:
    return one.attempt
