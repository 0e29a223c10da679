"""`launch attach RUN`: take a run's supervision up again, whatever happened meanwhile."""

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launcher import strategy as rules
from launcher import supervision
from launcher.cli import say_error
from launcher.cli.arguments import Words, parser
from launcher.cli.command import Command
from launcher.cli.prompt import ask_unseen
from launcher.cli.reaching import homing_s, reached, runs_folder, unreachable_s
from launcher.cli.which_run import folder_of, hosts_of, name_on_hosts
from launcher.errors import HostError, InputError, Problem
from launcher.runs import last_attempt

if TYPE_CHECKING:
    from argparse import Namespace

    from launcher.backends import Backend
    from launcher.claim import Wanted
    from launcher.claiming import Claims
    from launcher.container import Container
    from launcher.files.secrets import Secrets
    from launcher.found import Found
    from launcher.hosts import Machine
    from launcher.lease import ChiefLease
    from launcher.logs import Console
    from launcher.placement import Moves
    from launcher.plan import Plan
    from launcher.questions import Question
    from launcher.task import TaskId

_ENDED = (404, 409)  # a container that has ended meanwhile, or is gone


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
            run = _there(name, folder, machines)
            for why in unreached.values():
                say_error(f"launch: {why}")
            return _take_up(run, machines, stop=stop, as_json=options.json)
        except HostError as error:
            raise HostError("\n".join([str(error), *unreached.values()])) from None


def _watch(run_dir: Path, holder: supervision.Holder) -> int:
    """Show the console of the launcher that supervises a run; ^C leaves it alone."""
    from launcher.cli.detached import CONSOLE, follow

    if holder.host not in ("", socket.gethostname()) or not (run_dir / CONSOLE).exists():
        raise HostError(f"{run_dir.name}: {holder} supervises it (launch logs -f {run_dir.name})")
    return follow(run_dir)


class _There(NamedTuple):
    """A run as its containers tell of it.

    containers: those of all attempts, on the hosts that could be reached.
    latest: of each task that has one where it stands its latest.
    unreached: the other hosts on which tasks stand, or have stood.
    """

    plan: "Plan"
    containers: "list[Found]"
    latest: "Mapping[TaskId, Found]"
    unreached: set[str]

    @property
    def adopted(self) -> "dict[TaskId, int]":
        """Of each task the number of its latest attempt; where that is gone, of the newest."""
        newest = max(
            *(one.attempt for one in self.containers), last_attempt(Path(self.plan.run_dir))
        )
        tasks = (container.task for container in self.plan.tasks)
        return {t: self.latest[t].attempt if t in self.latest else newest for t in tasks}


def _there(run_id: str, run_dir: Path, machines: "Mapping[str, Machine]") -> _There:
    """Return the run as its hosts tell of it.

    Raises:
        InputError: nothing of it is there.
        HostError: what is there does not do to take it up.
    """
    from launcher import plan_label
    from launcher.at_once import at_all
    from launcher.found import found

    listed = at_all(machines.values(), lambda machine: found(machine.engine, run_id))
    containers = [one for each in listed for one in each]
    if not containers:
        what = "no container of it is on its hosts; launch resume goes on with a run that ended"
        raise InputError(Problem(run_id, what))
    plans = plan_label.read_all(run_id, {one.plan for one in containers}, str(run_dir))
    told = [one for one in containers if one.plan in plans]
    newest = max(told, key=lambda one: (plans[one.plan].number, one.attempt))
    plan = plans[newest.plan]
    stood_on = {container.host for each in plans.values() for container in each.tasks}
    run = _There(plan, containers, _latest(plan, containers), stood_on - machines.keys())
    if missing := list(_missing(run, machines)):
        what = "launch collect brings home what is there"
        raise HostError(f"{run_id}: {', '.join(missing)}; {what}")
    return run


def _missing(run: _There, machines: "Mapping[str, Machine]") -> Iterator[str]:
    """Yield why tasks without a container, or the run, can be neither watched nor begun again."""
    tasks, first = run.plan.tasks, run.plan.tasks[0]
    if first.host not in machines:  # the lease is there
        what = f"{first.task} was on {first.host}, which alone can tell whether"
        yield f"{what} another launcher supervises the run, and cannot be reached"
    for c in tasks:
        group = next((group for group in run.plan.alike if c.task in group), ())
        if c.task in run.latest or (c is first and c.host not in machines):
            continue
        if rules.may_fail(c.task):  # the run goes on without it
            continue
        if c.host not in machines and not run.plan.restarts.move:
            yield f"{c.task} was on {c.host}, which cannot be reached (restarts.move is not set)"
        elif not {one.task for one in run.containers} & {c.task, *group}:
            yield f"{c.task} has no container on its hosts, and no other task is like it"


def _take_up(run: _There, machines: "Mapping[str, Machine]", *, stop: bool, as_json: bool) -> int:
    from launcher.at_once import at_all
    from launcher.backends.docker import DockerBackend
    from launcher.cli.interruption import superseded
    from launcher.cli.perform import perform
    from launcher.files.secrets import Secrets
    from launcher.heritage import Heritage
    from launcher.lease import ChiefLease
    from launcher.results import Collecting, Results
    from launcher.transfers import Transfers

    plan, run_dir = run.plan, Path(run.plan.run_dir)
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    lease = ChiefLease(plan.run_id, lambda name: machines[name].start, superseded)
    with lease.held(plan.tasks[0].host, at_once=True):
        claims = _claims(run, machines, stop=stop)
        earlier = [one for one in run.containers if run.latest.get(one.task) is not one]
        at_all(earlier, lambda one: _earlier_home(run_dir, machines[one.host], one))
        given = Secrets({}) if stop else _secrets(run, machines)

        def backend(console: "Console") -> "Backend":
            transfers = Transfers(console.show_status if console.is_terminal else None, console.say)
            results = Results(Collecting(plan.run_id, run_dir, False, transfers.report))
            for host in run.unreached:
                results.host_is_lost(host)
            return DockerBackend(
                plan, machines, Heritage(plan.run_id, machines, run.containers, given),
                results, claims, console.say, unreachable_s(os.environ),
                homing_s(os.environ),
            )  # fmt: skip

        asked = Command(Words({}, [], False), str(run_dir.parent), goes_on=True)
        return perform(
            plan, backend, partial(_placed_anew, plan, machines, claims, lease), asked,
            adopted=run.adopted, stop=stop, as_json=as_json,
        )  # fmt: skip


def _earlier_home(run_dir: Path, machine: "Machine", one: "Found") -> None:
    """Bring home the log of an attempt that a later one followed; end it where it lives still.

    So it does on a host that was lost, from which its task moved. Raises HostError.
    """
    from launcher.cli.collect import log_home
    from launcher.engine import EngineError

    if one.lives:
        try:
            with machine.engine.errors(f"cannot end attempt {one.attempt} of {one.task}"):
                machine.engine.api.kill(one.id)
        except EngineError as error:
            if error.status not in _ENDED:
                raise
    log_home(run_dir, machine, one)


def _secrets(run: _There, machines: "Mapping[str, Machine]") -> "Secrets":
    """Return what the user gives for secrets that a task does not hold any more."""
    from launcher.files.secrets import Secrets
    from launcher.heritage import lost_secrets

    lost = lost_secrets(run.plan.secrets, machines, run.latest.values())
    ask = ask_unseen()
    if lost and ask is None:
        names = ", ".join(lost)
        say_error(f"launch: a task does not hold its secrets any more ({names}): if it starts "
                  "again, it lacks them; attach at a terminal to be asked for them")  # fmt: skip
    return Secrets({name: os.fsencode(ask(f"secret {name}: ")) for name in lost} if ask else {})


def _questions(plan: "Plan", machines: "Mapping[str, Machine]") -> "Mapping[str, Question]":
    """Return what each host is asked."""
    from launcher import questions

    return dict.fromkeys(machines, questions.question(any(c.gpus for c in plan.tasks), ()))


def _claims(run: _There, machines: "Mapping[str, Machine]", *, stop: bool) -> "Claims":
    """Return the claims of the run's earlier launcher, held on; with `stop` none is needed.

    Only the run's end gives them up: where this launcher fails before, what lives keeps its own.
    """
    from launcher import claiming, readings

    plan = run.plan
    claims = claiming.Claims(plan.run_id, machines, lambda text: say_error(f"launch: {text}"))
    if stop:
        claims.adopt({}, {}, ())
        return claims
    own, silent = readings.read(machines.values(), _questions(plan, machines))
    if silent:
        raise HostError("\n".join(silent.values()))

    def wanted(*tasks: "Container") -> "dict[str, Wanted]":
        return claiming.wanted(plan._replace(tasks=tasks), own)

    there = [c for c in plan.tasks if c.host in own]
    living = [c for c in there if c.task in run.latest and run.latest[c.task].lives]
    expected = {c.task: wanted(c)[c.host] for c in there if c not in living}
    claims.adopt(wanted(*living), expected, [each for r in own.values() for each in r.claims])
    return claims


def _placed_anew(
    plan: "Plan",
    machines: "Mapping[str, Machine]",
    claims: "Claims",
    lease: "ChiefLease",
    moves: "Moves",
) -> "Plan":
    """Return the run's plan with places that are free now, held. Raises InputError, HostError.

    Where cluster.yaml has changed since, its hosts are those of now.
    """
    from launcher import moving, replanning

    own = moving.read_again(plan.run_id, machines, _questions(plan, machines), moves.lost)
    hosts = {name: machines[name].host for name in own}
    facts = {name: reading.facts() for name, reading in own.items()}
    again = replanning.placed_anew(plan, hosts, facts, moves)
    return moving.held(again, machines, own, claims, lease, moves)


def _latest(plan: "Plan", containers: "Iterable[Found]") -> "dict[TaskId, Found]":
    """Return of each task the latest container on its host; one elsewhere has been moved from."""
    hosts = {container.task: container.host for container in plan.tasks}
    there = (one for one in containers if one.host == hosts.get(one.task))
    return {one.task: one for one in sorted(there, key=lambda one: one.attempt)}
