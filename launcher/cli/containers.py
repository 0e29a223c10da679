"""A run in containers: open the hosts, read what they are, plan, check, perform."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from launcher import claiming, config, placement, preflight
from launcher.at_once import at_all
from launcher.backends import Backend
from launcher.backends.docker import DockerBackend  # all of this while hosts answer
from launcher.claiming import Claims
from launcher.cli import say_error
from launcher.cli.asked import Asked
from launcher.cli.before_run import before_run
from launcher.cli.docker_here import local_engine
from launcher.cli.interruption import interruptible, superseded
from launcher.cli.perform import perform
from launcher.cli.reaching import homing_s, unreachable_s
from launcher.engine import Engine
from launcher.errors import HostError, InputError
from launcher.found import found
from launcher.hosts import Machine, Opened
from launcher.images import Images
from launcher.inside import Inside
from launcher.lease import ChiefLease
from launcher.logins import Logins
from launcher.logs import Console
from launcher.placement import HostFacts, Moves
from launcher.plan import Plan, plan, plan_single
from launcher.provision import Provision
from launcher.readings import PORTS, Reading, read
from launcher.results import Collecting, Results
from launcher.transfers import Transfers

_PLENTY = 512  # ports and GPUs, of a host that did not say what it has


def run(asked: Asked, logins: Logins, all_open: Callable[[], Opened], *, dry: bool) -> int:
    """Perform a run in containers, or show the very plan that would run now (`dry`).

    all_open: waits until the run's hosts are open.
    """
    here = ThreadPoolExecutor(1, "here").submit(engine_here)
    machines, unreached = all_open()
    if asked.command.goes_on:
        _check_ended(asked.run_id, machines)
    readings, silent = read(machines.values(), asked.questions)
    if unreached or silent:
        raise HostError("\n".join(_all_problems(asked, readings, {**unreached, **silent})))
    made = _plan_anyhow(asked, readings)
    if dry or not asked.waits:
        preflight.check(made, readings)
    else:
        preflight.check(made, {name: each.without() for name, each in readings.items()})
    if dry:
        from launcher.cli.show import show

        show(made, as_json=asked.as_json)
        return 0
    with interruptible(), Claims(asked.run_id, machines, _say) as claims:
        _claim(asked, made, machines, readings, claims)
        made = before_run(asked, made, readings, machines, logins)
        return _perform(asked, made, machines, here, claims)


def _say(text: str) -> None:
    say_error(f"launch: {text}")


def _claim(
    asked: Asked,
    made: Plan,
    machines: Mapping[str, Machine],
    readings: Mapping[str, Reading],
    claims: Claims,
) -> None:
    """Claim what a plan takes of its hosts; where others came first, look again before it starts.

    Raises:
        HostError: others hold something of it, or something else is in the way now.
    """
    known = [claim for each in readings.values() for claim in each.claims]
    if claims.take(
        claiming.wanted(made, readings), claiming.names(readings), known, wait=asked.waits
    ):
        again, silent = read(machines.values(), asked.questions)
        if silent:
            raise HostError("\n".join(silent.values()))
        preflight.check(made, {n: r.without() for n, r in again.items()})


def _check_ended(run_id: str, machines: Mapping[str, Machine]) -> None:
    """Refuse to go on with a run whose containers still live. Raises HostError."""
    listed = at_all(machines.values(), lambda machine: found(machine.engine, run_id))
    living = [f"{one.task} on {one.host}" for each in listed for one in each if one.lives]
    if living:
        what = f"still runs: {', '.join(living)}; launch attach takes it up, launch stop ends it"
        raise HostError(f"{run_id}: {what}")


def _all_problems(
    asked: Asked, readings: Mapping[str, Reading], silent: Mapping[str, str]
) -> Iterator[str]:
    """Yield why hosts say nothing, and what is wrong with the others.

    For that a plan is made as if those hosts had all that is wanted of them.
    """
    yield from silent.values()
    with contextlib.suppress(InputError):
        yield from preflight.problems(plan_on(asked, readings, silent), readings)


def plan_on(asked: Asked, readings: Mapping[str, Reading], silent: Iterable[str] = ()) -> Plan:
    """Return the plan on hosts that were read; those that are `silent` have all that is wanted.

    Raises:
        InputError: the tasks do not fit on the hosts.
    """
    plenty = HostFacts(tuple(PORTS[:_PLENTY]), tuple(map(str, range(_PLENTY))))
    return _plan(asked, {**dict.fromkeys(silent, plenty), **_facts(asked, readings)})


def _plan_anyhow(asked: Asked, readings: Mapping[str, Reading]) -> Plan:
    """Return the plan on what is free; where that is not enough, also on what other runs hold.

    Raises:
        InputError: the tasks do not fit there either way.
    """
    try:
        return _plan(asked, _facts(asked, readings))
    except InputError as error:
        if not any(reading.claims for reading in readings.values()):
            raise
        with contextlib.suppress(InputError):
            return _plan(asked, _facts(asked, readings, claimed_too=True))
        raise error from None


def _facts(
    asked: Asked, readings: Mapping[str, Reading], *, claimed_too: bool = False
) -> Mapping[str, HostFacts]:
    single = asked.spec is None
    facts = {n: each.facts(claimed_too=claimed_too or single) for n, each in readings.items()}
    if asked.spec is not None:
        return facts
    # A single task takes a GPU where it can have one.
    return {n: f if readings[n].gives_gpus else f._replace(gpus=()) for n, f in facts.items()}


def _plan(
    asked: Asked,
    facts: Mapping[str, HostFacts],
    moves: Moves | None = None,
) -> Plan:
    """Return the plan by these facts, or, with `moves`, another of the same run.

    Raises:
        InputError: the tasks do not fit there.
    """
    if asked.spec is None:
        return plan_single(
            asked.job, asked.run_id, facts[config.THIS_MACHINE].gpus, run_dir=asked.run_dir,
            python=sys.executable, host=config.THIS_MACHINE, image=asked.image,
        )  # fmt: skip
    spec = placement.moved(asked.spec, moves) if moves else asked.spec
    return plan(spec, asked.job, asked.run_id, facts, run_dir=asked.run_dir,
                python=sys.executable)  # fmt: skip


def _perform(
    asked: Asked,
    made: Plan,
    machines: Mapping[str, Machine],
    here: Future[Engine | None],
    claims: Claims,
) -> int:
    inside = Inside(made, os.environ, goes_on=asked.command.goes_on)
    gone_s, home_s = unreachable_s(os.environ), homing_s(os.environ)

    def backend(console: Console) -> Backend:
        transfers = Transfers(console.show_status if console.is_terminal else None, console.say)
        cancelled = threading.Event()
        images = Images(
            made.tasks[0].image or "",
            here.result(),
            made.image_transfer,
            on_progress=transfers.report,
            is_cancelled=cancelled.is_set,
        )
        provision = Provision(made, images, inside, cancelled, transfers.report)
        keep = "keep" in asked.options
        how = Collecting(made.run_id, Path(made.run_dir), keep, transfers.report)
        results = Results(how)
        return DockerBackend(
            made, machines, provision, results, claims, console.say, gone_s, home_s
        )

    def replan(moves: Moves) -> Plan:
        from launcher import moving  # few runs need another place

        readings = moving.read_again(asked.run_id, machines, asked.questions, moves.lost)
        again = _plan(asked, _facts(asked, readings), moves)
        return moving.held(again, machines, readings, claims, lease, moves)

    lease = ChiefLease(made.run_id, lambda name: machines[name].start, superseded)
    with lease.held(made.tasks[0].host, at_once=asked.command.goes_on):
        return perform(made, backend, replan, asked.command, as_json=asked.as_json)


def engine_here() -> Engine | None:
    """Return this machine's Docker Engine, where it has one."""
    try:
        return local_engine()
    except HostError:
        return None
