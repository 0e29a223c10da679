"""What submitting to a platform and asking after its jobs have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from launcher import config, platforms
from launcher.errors import InputError, Problem
from launcher.option import Option
from launcher.platforms import Platform, State, Submitted

VERBS = ("list", "status", "logs", "stop", "delete")
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
        raise InputError(Problem("--platform", "expected the NAME of a platform"))
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
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "--":
            break
        flag, equals, value = word.partition("=")
        if flag == "--platform":
            try:
                return platforms.options_of(value if equals else after)
            except InputError:
                return ()  # it is told with all else that is wrong
    return ()


def in_words(job: Submitted) -> str:
    """Return a job's state, with the platform's own word where that says more."""
    plain = job.said.lower() in ("", job.state.value)
    return job.state.value if plain else f"{job.state.value} ({job.said})"


def as_json(job: Submitted) -> dict[str, object]:
    """Return a job as JSON values."""
    return {**job._asdict(), "state": job.state.value, "details": dict(job.details)}
