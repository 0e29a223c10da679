"""`launch [OPTIONS] TRAINER …`: plan a run, show it or perform it, and report."""

import os
import sys

from launcher import config, facts
from launcher.cli.arguments import Words
from launcher.cli.asked import Asked, read
from launcher.cluster import Backend, ClusterSpec
from launcher.errors import HostError
from launcher.placement import HostFacts, Moves, moved
from launcher.plan import Plan, plan, plan_single


def main(words: Words, goes_on: str = "") -> int:
    """Run what a command line asks for; return the exit code.

    goes_on: the folder of the run that is to go on from where it stopped; empty for a new one.
    """
    dry = "dry-run" in words.options
    asked = read(words, goes_on)
    if "detach" in words.options and not dry and not asked.command.is_detached:
        from launcher.cli.detached import begin

        return begin(asked.command, asked.run_dir)
    if asked.in_containers and (not dry or "hosts" in words.options):
        return _in_containers(asked, dry=dry)
    made = plan_here(asked)
    if dry:
        if "hosts" in words.options:
            _check_gpus(made)
        from launcher.cli.show import show

        show(made, as_json=asked.as_json)
        return 0
    from launcher.cli.processes import perform_processes

    tasks = asked.spec.tasks if asked.spec else ()
    fixed_ports = {task.id: task.port for task in tasks if task.port}
    return perform_processes(
        made,
        fixed_ports,
        lambda moves: plan_here(asked, moves),
        asked.command,
        wait=asked.waits,
        as_json=asked.as_json,
    )


def _check_gpus(made: Plan) -> None:
    """Refuse a plan whose GPUs are not to be had now. Raises HostError."""
    if any(task.gpus for task in made.tasks):
        from launcher import gpus_here

        if found := gpus_here.problems(made.tasks):
            raise HostError("\n".join(found))


def _in_containers(asked: Asked, *, dry: bool) -> int:
    from launcher.cli.prompt import ask_unseen
    from launcher.cli.reaching import unreachable_s
    from launcher.logins import Logins

    scripts = {name: question.script for name, question in asked.questions.items()}
    gone_s = unreachable_s(os.environ)
    with Logins(asked.hosts, ask_unseen(), scripts, unreachable_s=gone_s) as logins:
        from launcher.hosts import opening  # while hosts answer: it takes a while too

        with opening(asked.hosts, logins) as all_open:
            from launcher.cli.containers import run  # this too

            return run(asked, logins, all_open, dry=dry)


def plan_here(asked: Asked, moves: Moves | None = None) -> Plan:
    """Return the plan as far as it can be made without asking another machine.

    With `moves` it is another one of the same run.
    """
    if asked.spec is None:
        from launcher import gpus_here

        return plan_single(
            asked.job, asked.run_id, gpus_here.ids(asked.run_id), run_dir=asked.run_dir,
            python=sys.executable, host=config.THIS_MACHINE, image=asked.image,
        )  # fmt: skip
    found = _facts(asked.spec, asked.run_id)
    spec = moved(asked.spec, moves) if moves else asked.spec
    return plan(spec, asked.job, asked.run_id, found, run_dir=asked.run_dir,
                python=sys.executable)  # fmt: skip


def _facts(spec: ClusterSpec, run_id: str) -> dict[str, HostFacts]:
    """Return what planning must know of the hosts; no other machine than this one is asked."""
    ports = sum(task.port is None for task in spec.tasks)
    if spec.backend is Backend.DOCKER:
        return dict.fromkeys(spec.hosts, HostFacts(tuple(range(2222, 2222 + ports))))
    asks_gpus = any(host.gpu_ids is None for host in spec.hosts.values())
    return dict.fromkeys(spec.hosts, facts.read_facts(ports, gpus=asks_gpus, run_id=run_id))
