"""`launch submit`: hand a run to a platform, and ask after its jobs there."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher import config, facts, trainer
from launcher.cli import COMMANDS
from launcher.cli.arguments import SUBMIT_OPTIONS, VERBS, Words, parse
from launcher.cli.asked import runs_dir
from launcher.cli.platform import as_json, own_options, print_json, reach, wait
from launcher.errors import InputError, Problem
from launcher.layout import Job
from launcher.option import Option
from launcher.platforms import Platform, Request
from launcher.strategy import Strategy


def main(words: list[str]) -> int:
    """Submit a run, or do what a verb says with the jobs that are there."""
    if words and words[0] in VERBS:
        from launcher.cli.jobs import main as ask

        return ask(words)
    if words[:1] == ["inside"]:  # what the job of a platform runs
        from launcher.cli.inside_job import main as inside

        return inside(words[1:])
    known = (*SUBMIT_OPTIONS, *own_options(words))
    asked = parse(words, known, "submit")
    if "help" in asked.options or not words:
        print(usage("submit", known), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    perform = "dry-run" not in asked.options
    return send(request_of(asked, "submit"), asked.options, perform=perform)


class Asked(NamedTuple):
    """A run as the command line asks for it, and who is to run it."""

    request: Request
    platform: Platform


def send(asked: Asked, options: Mapping[str, str], *, perform: bool) -> int:
    """Submit what is asked for, or show what would be sent; return the exit code."""
    prepared = asked.platform.prepare(asked.request)
    job = asked.platform.submit(prepared) if perform else None
    if job is None:
        _show(prepared.to_dict(), prepared.text(), as_json="json" in options)
        if perform and "wait" in options:
            print("launch: --wait: nothing was sent; this is what you send", file=sys.stderr)
            return 2
        return 0
    _show(as_json(job), f"{job.name}: submitted as {job.id}", as_json="json" in options)
    sys.stdout.flush()
    return wait(asked.platform, job) if "wait" in options else 0


def request_of(asked: Words, command: str) -> Asked:
    """Return what is asked for, or raise InputError with all that is wrong with it."""
    problems: list[Problem] = []
    options = asked.options
    job = spec = platform = None
    try:
        job = _job(asked, command)
    except InputError as error:
        problems += error.problems
    try:
        strategy = Strategy(options.get("strategy", "auto"))
        spec = config.read(
            options.get("cluster", "cluster.yaml"), strategy=strategy, elsewhere=True
        )
    except InputError as error:
        problems += error.problems
    try:
        platform = reach(options, os.environ)
    except InputError as error:
        problems += (each for each in error.problems if each not in problems)
    if problems or job is None or spec is None or platform is None:
        raise InputError(problems)
    run_id = facts.new_run_id(spec.name or job.name)
    run_dir = os.path.join(runs_dir(options), run_id)
    return Asked(Request(spec, job, run_id, run_dir), platform)


def _job(asked: Words, command: str) -> Job:
    cwd = os.getcwd()
    if asked.separated:
        return trainer.command(asked.rest, cwd)
    if not asked.rest:
        what = f"expected a TRAINER, a script or -- COMMAND (see launch {command} --help)"
        raise InputError(what)
    word, *args = asked.rest
    return trainer.find(word, args, cwd, uai_args="uai-args" in asked.options, commands=COMMANDS)


def _show(value: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        print(text)


def usage(command: str, known: Sequence[Option]) -> str:
    """Return what a command that submits says of itself."""
    shown = [
        (", ".join(filter(None, (each.letter and f"-{each.letter}", f"--{each.name}"))), each)
        for each in known
    ]
    options = [(f"{flags} {each.value or ''}".rstrip(), each.help) for flags, each in shown]
    verbs = [f"       launch submit {'|'.join(VERBS)} --platform NAME [JOB]"]
    lines: Sequence[str] = [
        f"usage: launch {command} --platform NAME [OPTIONS] TRAINER [TRAINER ARGS…]",
        *(verbs if command == "submit" else ()),
        "",
        "options:",
        *(f"  {flag:<22} {text}" for flag, text in options),
    ]
    return "\n".join(lines) + "\n"
