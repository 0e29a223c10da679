"""`launch [OPTIONS] TRAINER …`: plan a run, show it or perform it, and report."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from launcher import config, facts, trainer
from launcher.cli import COMMANDS, command
from launcher.cli.arguments import Words
from launcher.cli.command import Command
from launcher.cluster import Backend, ClusterSpec, Host
from launcher.errors import HostError, InputError, Problem
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import Plan, plan, plan_single
from launcher.strategy import Strategy

if TYPE_CHECKING:
    from launcher.questions import Question

DEFAULT_SINGLE = "mnist_single"


class Asked(NamedTuple):
    """A run as the command line asks for it, before any plan.

    spec: None for a single task without a cluster.
    run_dir: absolute; nothing is there yet, or what an earlier part of the run left.
    command: what can be asked for again.
    """

    job: Job
    spec: ClusterSpec | None
    run_id: str
    run_dir: str
    command: Command

    @property
    def options(self) -> Mapping[str, str]:
        """The options of the command line."""
        return self.command.words.options

    @property
    def image(self) -> str | None:
        """The image of a single task."""
        return self.options.get("image")

    @property
    def in_containers(self) -> bool:
        """Whether the tasks are containers."""
        if self.spec is None:
            return self.image is not None
        return self.spec.backend is Backend.DOCKER

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts that may get a task."""
        if self.spec is None:
            return {config.THIS_MACHINE: Host("127.0.0.1", "auto")}
        named = {task.host for task in self.spec.tasks}
        if None in named or self.spec.restarts.move:
            return self.spec.hosts
        return {name: host for name, host in self.spec.hosts.items() if name in named}

    @property
    def questions(self) -> "Mapping[str, Question]":
        """What those hosts are asked first."""
        from launcher import questions

        return questions.of_hosts(self.hosts, self.spec)

    @property
    def waits(self) -> bool:
        """Whether it waits for what other runs hold."""
        return "wait" in self.options

    @property
    def as_json(self) -> bool:
        """Whether everything is printed as JSON."""
        return "json" in self.options


def main(words: Words, goes_on: str = "") -> int:
    """Run what a command line asks for; return the exit code.

    goes_on: the folder of the run that is to go on from where it stopped; empty for a new one.
    """
    dry = "dry-run" in words.options
    asked = _asked(words, goes_on)
    if "detach" in words.options and not dry and not asked.command.is_detached:
        from launcher.cli.detached import begin

        return begin(asked.command, asked.run_dir)
    if asked.in_containers and (not dry or "hosts" in words.options):
        return _in_containers(asked, dry=dry)
    made = _plan(asked)
    if dry:
        show(made, as_json=asked.as_json)
        return 0
    from launcher.cli.perform import perform_processes

    tasks = asked.spec.tasks if asked.spec else ()
    fixed_ports = {task.id: task.port for task in tasks if task.port}
    return perform_processes(
        made,
        fixed_ports,
        lambda _lost: _plan(asked),
        asked.command,
        wait=asked.waits,
        as_json=asked.as_json,
    )


def _in_containers(asked: Asked, *, dry: bool) -> int:
    from launcher.cli.prompt import ask_unseen
    from launcher.logins import Logins

    scripts = {name: question.script for name, question in asked.questions.items()}
    with Logins(asked.hosts, ask_unseen(), scripts) as logins:
        from launcher.hosts import opening  # while hosts answer: it takes a while too

        with opening(asked.hosts, logins) as all_open:
            from launcher.cli.containers import run  # this too

            return run(asked, logins, all_open, dry=dry)


def _asked(words: Words, goes_on: str) -> Asked:
    """Return the run, or raise InputError with what is wrong in command line and file both."""
    options = words.options
    if "resume" in options and not goes_on:
        goes_on = command.latest(words, os.getcwd(), runs_dir(options)) or ""
    if goes_on:
        _check_alone(goes_on)
    problems: list[Problem] = []
    job = spec = None
    try:
        job = _job(words)
    except InputError as error:
        problems += error.problems
    if "single" in options:
        if "cluster" in options or "strategy" in options:
            problems.append(Problem("--single", "takes neither --cluster nor --strategy"))
    else:
        if "image" in options:
            problems.append(Problem("--image", "goes with --single; a cluster.yaml names its own"))
        try:
            strategy = Strategy(options.get("strategy", "auto"))
            spec = config.read(options.get("cluster", "cluster.yaml"), strategy=strategy)
        except InputError as error:
            problems += error.problems
    if problems or job is None:
        raise InputError(problems)
    detached = os.environ.pop(command.DETACHED, "")  # not for the tasks to see
    name = spec.name if spec and spec.name else job.name
    run_id = os.path.basename(goes_on) or detached or facts.new_run_id(name)
    run_dir = goes_on or os.path.join(runs_dir(options), run_id)
    return Asked(job, spec, run_id, run_dir, Command(words, job.cwd, bool(goes_on), bool(detached)))


def _check_alone(run_dir: str) -> None:
    """Refuse to go on with a run that a launcher here supervises. Raises HostError."""
    from launcher import supervision

    if holder := supervision.holder(run_dir):
        raise HostError(f"{os.path.basename(run_dir)}: {holder} supervises it")


def _job(asked: Words) -> Job:
    try:
        cwd = os.getcwd()
    except OSError as error:
        raise InputError(f"the current folder cannot be used: {error.strerror}") from None
    if asked.separated:
        return trainer.command(asked.rest, cwd)
    if not asked.rest and "single" not in asked.options:
        raise InputError("expected a TRAINER, a script or -- COMMAND (see launch --help)")
    word, *args = asked.rest or [DEFAULT_SINGLE]
    uai_args = "uai-args" in asked.options
    return trainer.find(word, args, cwd, uai_args=uai_args, commands=COMMANDS)


def runs_dir(options: Mapping[str, str]) -> str:
    """Return the folder of all runs as an absolute path."""
    return os.path.abspath(options.get("runs-dir") or os.environ.get("LAUNCH_RUNS") or "runs")


def _plan(asked: Asked) -> Plan:
    """Return the plan as far as it can be made without asking another machine."""
    if asked.spec is None:
        return plan_single(
            asked.job, asked.run_id, facts.gpu_ids(), run_dir=asked.run_dir,
            python=sys.executable, host=config.THIS_MACHINE, image=asked.image,
        )  # fmt: skip
    found = _facts(asked.spec)
    return plan(asked.spec, asked.job, asked.run_id, found, run_dir=asked.run_dir,
                python=sys.executable)  # fmt: skip


def _facts(spec: ClusterSpec) -> dict[str, HostFacts]:
    """Return what planning must know of the hosts; no other machine than this one is asked."""
    ports = sum(task.port is None for task in spec.tasks)
    if spec.backend is Backend.DOCKER:
        return dict.fromkeys(spec.hosts, HostFacts(tuple(range(2222, 2222 + ports))))
    asks_gpus = any(host.gpu_ids is None for host in spec.hosts.values())
    return dict.fromkeys(spec.hosts, facts.read_facts(ports, gpus=asks_gpus))


def show(made: Plan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        import json

        print(json.dumps(made.to_dict(), indent=2, ensure_ascii=False))
        return
    from launcher.cli.show import plan_text

    print(plan_text(made))
