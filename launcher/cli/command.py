"""What a user asked for, kept with the run so that it can be asked for again."""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from launcher.cli.arguments import Words
from launcher.errors import InputError, Problem

FILE = "command.json"
DETACHED = "LAUNCH_DETACHED"  #: in a background launcher's environment: its run's name
# What says how to run and not what: a run that goes on may be asked for with others.
_NOT_ITS_OWN = frozenset({"detach", "resume", "json", "keep", "wait", "preflight", "runs-dir"})


class Command(NamedTuple):
    """A run's command line, and the folder in which it was given.

    goes_on: whether the run had begun before.
    is_detached: whether this process is the run's launcher in the background.
    is_job: whether a platform runs it, where it is asked for again.
    """

    words: Words
    cwd: str
    goes_on: bool = False
    is_detached: bool = False
    is_job: bool = False

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {**self.words._asdict(), "cwd": self.cwd}


def read(run_dir: str) -> Command:
    """Return what was asked for when a run was begun.

    Raises:
        InputError: the folder is no run's.
    """
    import json

    path = os.path.join(run_dir, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        words = Words(dict(said["options"]), list(said["rest"]), bool(said["separated"]))
        return Command(words, str(said["cwd"]), goes_on=True)
    except OSError as error:
        what = f"cannot be read: {error.strerror}; expected the folder of a run"
        raise InputError(Problem(path, what)) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(Problem(path, "is not what the launcher writes there")) from None


def latest(words: Words, cwd: str, runs: str) -> str | None:
    """Return the folder of the last run of a command that has not succeeded, None without one."""
    wanted = _essence(words)
    for folder in _newest_first(runs):
        try:
            known = read(folder)
        except InputError:
            continue
        if known.cwd == cwd and _essence(known.words) == wanted:
            return None if has_succeeded(folder) else folder
    return None


def has_succeeded(run_dir: str) -> bool:
    """Whether a run's report says so."""
    import json

    try:
        with open(os.path.join(run_dir, "report.json"), encoding="utf-8") as file:
            return bool(json.load(file)["outcome"] == "succeeded")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _essence(words: Words) -> tuple[Mapping[str, str], list[str], bool]:
    own = {name: value for name, value in words.options.items() if name not in _NOT_ITS_OWN}
    return own, words.rest, words.separated


def _newest_first(runs: str) -> Iterator[str]:
    try:
        with os.scandir(runs) as entries:
            found = [entry.path for entry in entries if entry.is_dir()]
    except OSError:
        return
    yield from sorted(found, key=os.path.getmtime, reverse=True)
