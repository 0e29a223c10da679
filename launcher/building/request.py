"""What the user asks to be built, checked against the files before an engine hears of it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from launcher.building import repository
from launcher.building.dockerfile import PREDEFINED_ARGS, Base, Dockerfile
from launcher.errors import InputError, Problem

DEFAULT_FILES = ("mnist.Dockerfile", "Dockerfile")


class Request(NamedTuple):
    """A build, ready to be done.

    context: the folder whose files the Dockerfile may copy.
    file: the Dockerfile, as it is shown.
    name: the image's name without a tag.
    bases: what the stages start from; the last is what the image stands on.
    has_here_documents: whether RUN or COPY lines hold `<<NAME`, which only BuildKit understands.
    code: files to be copied to /data behind the Dockerfile's steps, by their names there.
    network: Docker's network mode for the steps, None for the engine's own choice.
    """

    context: Path
    file: Path
    name: str
    build_args: Mapping[str, str]
    bases: tuple[Base, ...]
    has_here_documents: bool = False
    pull: bool = False
    no_cache: bool = False
    network: str | None = None
    code: Mapping[str, str] = {}


def read(
    context: str,
    file: str | None,
    name: str | None,
    build_args: Sequence[str],
    environ: Mapping[str, str],
) -> Request:
    """Return the build that the words of a command line ask for.

    file: None for `mnist.Dockerfile` in the context, else `Dockerfile` there.
    name: None for the one that follows from the file's.
    build_args: each `KEY=VALUE`, or `KEY` for the value that it has in `environ`.

    Raises:
        InputError: with everything that is wrong with them.
    """
    problems: list[Problem] = []
    folder = Path(context)
    if not folder.is_dir():
        what = "expected a folder, this is a file" if folder.exists() else "no such folder"
        problems.append(Problem(context, what))
    path = Path(file) if file else _default_file(folder)
    dockerfile = _dockerfile(path, problems) if file or folder.is_dir() else None
    args = _build_args(build_args, environ, problems)
    bases: tuple[Base, ...] = ()
    if dockerfile is not None:
        problems += _undeclared(args, dockerfile, path)
        bases = dockerfile.bases(args)
        problems += [_no_base(path, base) for base in bases if not base.image]
    image = _name(name, problems) if name is not None else repository.name_for(path, folder)
    if problems or dockerfile is None:
        raise InputError(problems)
    return Request(folder, path, image, args, bases, dockerfile.has_here_documents())


def _default_file(folder: Path) -> Path:
    first, other = (folder / name for name in DEFAULT_FILES)
    return first if first.is_file() else other


def _dockerfile(path: Path, problems: list[Problem]) -> Dockerfile | None:
    """Return what is in a Dockerfile, None where there is none to read."""
    try:
        found = Dockerfile.parse(path.read_text())
    except FileNotFoundError:
        what = "no such file; name the Dockerfile with -f FILE"
    except UnicodeDecodeError as error:
        what = f"expected a Dockerfile, this is not UTF-8 text (byte {error.start})"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    else:
        if any(instruction.name == "FROM" for instruction in found.instructions):
            return found
        what = "expected a Dockerfile, there is no FROM in it"
    problems.append(Problem(os.fspath(path), what))
    return None


def _build_args(
    given: Sequence[str], environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, str]:
    args: dict[str, str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not key.isidentifier():
            problems.append(Problem("--build-arg", f"expected KEY=VALUE, got {word!r}"))
        elif not equals and key not in environ:
            what = f"expected {key}=VALUE: ${key} is not set in the environment either"
            problems.append(Problem("--build-arg", what))
        else:
            args[key] = value if equals else environ[key]
    return args


def _undeclared(args: Mapping[str, str], dockerfile: Dockerfile, path: Path) -> list[Problem]:
    declared = dockerfile.args()
    among = f"it declares {', '.join(sorted(declared))}" if declared else "it declares none"
    return [
        Problem(f"--build-arg {key}", f"{path} has no ARG {key} ({among})")
        for key in args
        if key not in declared | PREDEFINED_ARGS
    ]


def _no_base(path: Path, base: Base) -> Problem:
    what = "comes to no image's name; give the variable a value with --build-arg"
    return Problem(f"{path}:{base.line} FROM {base.written}", what)


def _name(given: str, problems: list[Problem]) -> str:
    try:
        name = repository.parse(given)
    except ValueError as error:
        problems.append(Problem("-t", str(error)))
        return given
    if name.tag:
        what = f"expected {name.repository}, without a tag: a build gives its tags itself"
        problems.append(Problem("-t", f"{what} (its time, and {repository.LATEST})"))
    return given
