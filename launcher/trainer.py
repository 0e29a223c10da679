"""What the user named on the command line: a trainer, any script, or a command, found as a Job."""

import os.path
from collections.abc import Sequence

from launcher.errors import InputError, Problem, nearest
from launcher.layout import Job

_PACKAGE = os.path.dirname(__file__)
_INSTALLED = (f"{_PACKAGE}/installed_trainers", f"{_PACKAGE}/../trainers")  # wheel, checkout


def command(argv: Sequence[str], cwd: str) -> Job:
    """Return the job that runs `argv` as it is."""
    if not argv:
        raise InputError(Problem("--", "expected a command after it"))
    return Job(_stem(argv[0]), None, tuple(argv), cwd)


def find(
    word: str,
    args: Sequence[str],
    cwd: str,
    *,
    uai_args: bool = False,
    commands: Sequence[str] = (),
) -> Job:
    """Return the job that TRAINER names.

    A bare name is looked up as NAME.py in `cwd`/trainers, then among the installed trainers; its
    script gets the platform's arguments. Anything with a slash or `.py` is a path to a script,
    which gets them when `uai_args` is set. `commands` are words that may have been meant instead.

    Raises:
        InputError: there is no such trainer or script.
    """
    if "/" in word or word.endswith(".py"):
        script = os.path.join(cwd, os.path.expanduser(word))
        if not os.path.isfile(script):
            raise InputError(Problem(word, "no such script"))
        return _job(script, args, cwd, platform_args=uai_args)
    folders = (os.path.join(cwd, "trainers"), *_INSTALLED)
    for folder in folders:
        script = os.path.join(folder, f"{word}.py")
        if os.path.isfile(script):
            return _job(script, args, cwd, platform_args=True)
    files = [file for f in folders if os.path.isdir(f) for file in os.listdir(f)]
    known = sorted({_stem(f) for f in files if f.endswith(".py") and not f.startswith("_")})
    among = f" (expected one of {', '.join(known)}, or a path)" if known else ""
    raise InputError(Problem(word, f"no such trainer{nearest(word, [*known, *commands])}{among}"))


def _job(script: str, args: Sequence[str], cwd: str, *, platform_args: bool) -> Job:
    path = os.path.abspath(script)
    data_dir = os.path.join(os.path.dirname(path), "data")
    return Job(_stem(path), path, tuple(args), cwd, platform_args, data_dir)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
