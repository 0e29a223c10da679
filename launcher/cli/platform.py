"""What submitting to a platform and asking after its jobs have in common."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from launcher import config, platforms
from launcher.errors import HostError, InputError, Problem
from launcher.option import Option
from launcher.platforms import Platform, State, Submitted

_LOOK_S = 2.0
_LOOKS_FAILED = 10  # in a row, before waiting is given up
EXIT_CODES = {
    State.SUCCEEDED: 0,
    State.FAILED: 1,
    State.STOPPED: 143,
    State.DELETED: 3,
}


def reach(options: Mapping[str, str], environ: Mapping[str, str]) -> Platform:
    """Return the platform that the options name, with its settings from cluster.yaml.

    Raises:
        InputError: there is no such platform, or the file has problems.
    """
    kind, settings = _found(options)
    return kind(settings, environ)


def own_image(options: Mapping[str, str]) -> str | None:
    """Return the image that the platform's settings name in the place of the file's, if any.

    Raises InputError as `reach` does.
    """
    _, settings = _found(options)
    return getattr(settings, "image", None)


def _found(options: Mapping[str, str]) -> tuple[type[Platform], Any]:
    """Return a platform and its settings: those of the file, with the options' in their place."""
    name = options.get("platform") or ""
    if not name:
        raise InputError(Problem("--platform", "expected the NAME of a platform, before TRAINER"))
    kind = platforms.find(name)
    path = options.get("cluster") or "cluster.yaml"
    settings = config.platform_settings(path, name, kind.Settings, given="cluster" in options)
    over = {
        option.name.replace("-", "_"): options[option.name] if option.value else True
        for option in platforms.options_of(name)
        if option.name in options
    }
    return kind, settings._replace(**over) if over else settings


def own_options(words: Sequence[str]) -> tuple[Option, ...]:
    """Return the options of the platform that a command line names; none where it names none."""
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        if word == "--":
            break
        flag, equals, value = word.partition("=")
        if len(flag) > len("--p") and "--platform".startswith(flag):  # as getopt has it
            try:
                return platforms.options_of(value if equals else after)
            except InputError:
                return ()  # it is told with all else that is wrong
    return ()


def in_words(job: Submitted) -> str:
    """Return a job's state, with the platform's own word where that says more."""
    plain = job.said.lower() in ("", job.state.value)
    return job.state.value if plain else f"{job.state.value} ({job.said})"


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def as_json(job: Submitted) -> dict[str, object]:
    """Return a job as JSON values."""
    return {**job._asdict(), "state": job.state.value, "details": dict(job.details)}


def wait(platform: Platform, job: Submitted, *, say: bool = True) -> int:
    """Return the exit code of a job once it has ended; with `say`, tell each change of its state.

    One that its platform does not know is looked for again: it may not be listed yet. Where it
    stays unknown it has been deleted.

    Raises:
        HostError: the platform has not answered for too long.
    """
    told, failed, was_seen = "", 0, False
    while True:
        try:
            job, failed, was_seen = platform.job(job.id), 0, True
        except (HostError, InputError) as error:
            failed += 1
            if failed == _LOOKS_FAILED:
                if isinstance(error, InputError) and was_seen:
                    job = job._replace(state=State.DELETED, said="")
                else:
                    raise HostError(f"{error}\n{job.id} was not waited for any longer") from None
        if say and told != (told := in_words(job)):
            print(f"launch: {job.id}: {told}", file=sys.stderr)
        if job.state.is_final:
            return EXIT_CODES[job.state]
        time.sleep(_LOOK_S)
