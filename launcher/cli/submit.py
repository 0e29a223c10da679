"""`launch submit`: hand a run to a platform, and ask after its jobs there."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher import config, facts, platforms, trainer
from launcher.cli import COMMANDS
from launcher.cli.arguments import SUBMIT_OPTIONS, Words, parse
from launcher.cli.run import runs_dir
from launcher.errors import HostError, InputError, Problem
from launcher.layout import Job
from launcher.platforms import Platform, Request, State, Submitted
from launcher.strategy import Strategy

VERBS = ("list", "status", "logs", "stop", "delete")
EXIT_CODES = {
    State.SUCCEEDED: 0,
    State.FAILED: 1,
    State.STOPPED: 143,
    State.DELETED: 3,
}
_LOOK_S = 2.0
_LOOKS_FAILED = 10  # in a row, before waiting is given up


def main(words: list[str]) -> int:
    """Submit a run, or do what a verb says with the jobs that are there."""
    if words and words[0] in VERBS:
        from launcher.cli.jobs import main as ask

        return ask(words)
    if words[:1] == ["inside"]:  # what the job of a platform runs
        from launcher.cli.inside_job import main as inside

        return inside(words[1:])
    asked = parse(words, SUBMIT_OPTIONS, "submit")
    if "help" in asked.options or not words:
        print(_usage(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    return _submit(asked)


class Reached(NamedTuple):
    """A platform, and what to call it."""

    name: str
    platform: Platform


def reach(options: Mapping[str, str], environ: Mapping[str, str]) -> Reached:
    """Return the platform that the options name, with its settings from cluster.yaml.

    Raises:
        InputError: there is no such platform, or the file has problems.
    """
    name = options.get("platform") or ""
    if not name:
        raise InputError(Problem("--platform", "expected the NAME of a platform"))
    kind = platforms.find(name)
    path = options.get("cluster") or "cluster.yaml"
    settings = config.platform_settings(path, name, kind.Settings, given="cluster" in options)
    return Reached(name, kind(settings, environ))


def _submit(asked: Words) -> int:
    options = asked.options
    request, platform = _request(asked)
    prepared = platform.prepare(request)
    if "dry-run" in options:
        _show(prepared.to_dict(), prepared.text(), as_json="json" in options)
        return 0
    job = platform.submit(prepared)
    _show(as_json(job), f"{job.name}: submitted as {job.id}", as_json="json" in options)
    sys.stdout.flush()
    return wait(platform, job) if "wait" in options else 0


def _request(asked: Words) -> tuple[Request, Platform]:
    """Return what is asked for, or raise InputError with all that is wrong with it."""
    problems: list[Problem] = []
    options = asked.options
    job = spec = platform = None
    try:
        job = _job(asked)
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
        platform = reach(options, os.environ).platform
    except InputError as error:
        problems += (each for each in error.problems if each not in problems)
    if problems or job is None or spec is None or platform is None:
        raise InputError(problems)
    run_id = facts.new_run_id(spec.name or job.name)
    run_dir = os.path.join(runs_dir(options), run_id)
    return Request(spec, job, run_id, run_dir), platform


def _job(asked: Words) -> Job:
    cwd = os.getcwd()
    if asked.separated:
        return trainer.command(asked.rest, cwd)
    if not asked.rest:
        raise InputError("expected a TRAINER, a script or -- COMMAND (see launch submit --help)")
    word, *args = asked.rest
    return trainer.find(word, args, cwd, uai_args="uai-args" in asked.options, commands=COMMANDS)


def wait(platform: Platform, job: Submitted) -> int:
    """Return the exit code of a job once it has ended, telling each change of its state."""
    told, failed = "", 0
    while True:
        try:
            job, failed = platform.job(job.id), 0
        except HostError as error:
            failed += 1
            if failed == _LOOKS_FAILED:
                raise HostError(f"{error}\n{job.id} was not waited for any longer") from None
        if told != (told := in_words(job)):
            print(f"launch: {job.id}: {told}", file=sys.stderr)
        if job.state.is_final:
            return EXIT_CODES[job.state]
        time.sleep(_LOOK_S)


def in_words(job: Submitted) -> str:
    """Return a job's state, with the platform's own word where that says more."""
    plain = job.said.lower() in ("", job.state.value)
    return job.state.value if plain else f"{job.state.value} ({job.said})"


def as_json(job: Submitted) -> dict[str, object]:
    """Return a job as JSON values."""
    return {**job._asdict(), "state": job.state.value, "details": dict(job.details)}


def _show(value: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        print(text)


def _usage() -> str:
    options = [(f"--{each.name} {each.value or ''}".rstrip(), each.help) for each in SUBMIT_OPTIONS]
    lines: Sequence[str] = [
        "usage: launch submit --platform NAME [OPTIONS] TRAINER [TRAINER ARGS…]",
        f"       launch submit {'|'.join(VERBS)} --platform NAME [JOB]",
        "",
        "options:",
        *(f"  {flag:<18} {text}" for flag, text in options),
    ]
    return "\n".join(lines) + "\n"
