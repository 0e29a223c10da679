"""`launch [OPTIONS] TRAINER …`: plan a run, show it or perform it, and report."""

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from launcher import config, facts, trainer
from launcher.cli import COMMANDS
from launcher.cli.arguments import Words
from launcher.cluster import Backend, ClusterSpec
from launcher.errors import InputError, Problem
from launcher.layout import Job
from launcher.plan import HostFacts, Plan, plan, plan_single
from launcher.strategy import Strategy
from launcher.task import TaskId

DEFAULT_SINGLE = "mnist_single"


class Request(NamedTuple):
    """A plan, and the ports that the file itself asks for."""

    plan: Plan
    fixed_ports: dict[TaskId, int]


def main(asked: Words) -> int:
    """Run what a command line asks for; return the exit code."""
    request = _request(asked)
    as_json = "json" in asked.options
    if "dry-run" in asked.options:
        _show(request.plan, as_json=as_json)
        return 0
    from launcher.cli.perform import perform

    return perform(request.plan, request.fixed_ports, as_json=as_json)


def _request(asked: Words) -> Request:
    """Return the plan, or raise InputError with what is wrong in command line and file both."""
    options = asked.options
    problems: list[Problem] = []
    job = spec = None
    try:
        job = _job(asked)
    except InputError as error:
        problems += error.problems
    if "single" in options:
        if "cluster" in options or "strategy" in options:
            problems.append(Problem("--single", "takes neither --cluster nor --strategy"))
    else:
        try:
            strategy = Strategy(options.get("strategy", "auto"))
            spec = config.read(options.get("cluster", "cluster.yaml"), strategy=strategy)
        except InputError as error:
            problems += error.problems
    if problems or job is None:
        raise InputError(problems)
    return _single(job, options) if spec is None else _clustered(spec, job, options)


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


def _run_paths(options: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the new run's id, and its folder as an absolute path."""
    run_id = facts.new_run_id(name)
    folder = options.get("runs-dir") or os.environ.get("LAUNCH_RUNS") or "runs"
    return run_id, os.path.abspath(os.path.join(folder, run_id))


def _single(job: Job, options: Mapping[str, str]) -> Request:
    run_id, run_dir = _run_paths(options, job.name)
    made = plan_single(
        job, run_id, facts.gpu_ids(), run_dir=run_dir, python=sys.executable,
        host=config.THIS_MACHINE,
    )  # fmt: skip
    return Request(made, {})


def _clustered(spec: ClusterSpec, job: Job, options: Mapping[str, str]) -> Request:
    run_id, run_dir = _run_paths(options, spec.name or job.name)
    made = plan(spec, job, run_id, _facts(spec), run_dir=run_dir, python=sys.executable)
    return Request(made, {task.id: task.port for task in spec.tasks if task.port})


def _facts(spec: ClusterSpec) -> dict[str, HostFacts]:
    """Return what planning must know of the hosts; no other machine than this one is asked."""
    ports = sum(task.port is None for task in spec.tasks)
    if spec.backend is Backend.DOCKER:
        return dict.fromkeys(spec.hosts, HostFacts(tuple(range(2222, 2222 + ports))))
    asks_gpus = any(host.gpu_ids is None for host in spec.hosts.values())
    return dict.fromkeys(spec.hosts, facts.read_facts(ports, gpus=asks_gpus))


def _show(made: Plan, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(made.to_dict(), indent=2, ensure_ascii=False))
        return
    from launcher.cli.show import plan_text

    print(plan_text(made))
