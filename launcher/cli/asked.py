"""A run as the command line asks for it: options, trainer and cluster.yaml, read and checked."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from launcher import config, facts, trainer
from launcher.cli import COMMANDS, command
from launcher.cli.arguments import Words
from launcher.cli.command import Command
from launcher.cluster import Backend, ClusterSpec, Host
from launcher.errors import HostError, InputError, Problem
from launcher.layout import Job
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


def read(words: Words, goes_on: str) -> Asked:
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


def _job(words: Words) -> Job:
    try:
        cwd = os.getcwd()
    except OSError as error:
        raise InputError(f"the current folder cannot be used: {error.strerror}") from None
    if words.separated:
        return trainer.command(words.rest, cwd)
    if not words.rest and "single" not in words.options:
        raise InputError("expected a TRAINER, a script or -- COMMAND (see launch --help)")
    word, *args = words.rest or [DEFAULT_SINGLE]
    uai_args = "uai-args" in words.options
    return trainer.find(word, args, cwd, uai_args=uai_args, commands=COMMANDS)


def runs_dir(options: Mapping[str, str]) -> str:
    """Return the folder of all runs as an absolute path."""
    return os.path.abspath(options.get("runs-dir") or os.environ.get("LAUNCH_RUNS") or "runs")
