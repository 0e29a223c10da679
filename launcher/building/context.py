"""A build's context: the files that a Dockerfile may copy, as one archive."""

import os
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from docker.utils import tar

from launcher.errors import InputError, Problem

_OUTSIDE = ".launch.Dockerfile"  # the name, inside, of a Dockerfile that lies elsewhere


class Context(NamedTuple):
    """The archive, a temporary file that is gone once closed, and the Dockerfile's name in it."""

    archive: IO[bytes]
    dockerfile: str
    size_bytes: int


def pack(folder: Path, file: Path) -> Context:
    """Return the context of a build, without what its .dockerignore leaves out.

    Raises:
        InputError: a file that cannot be read.
    """
    root, inside = folder.absolute(), os.path.relpath(file, folder)
    is_outside = inside.startswith("..")
    archive = tempfile.TemporaryFile(prefix="launch-context-")  # noqa: SIM115 - the result holds it
    try:
        dockerfile = (_OUTSIDE, file.read_text()) if is_outside else (inside, None)
        tar(root, exclude=_ignored(folder), dockerfile=dockerfile, fileobj=archive)
        size = archive.seek(0, os.SEEK_END)
        archive.seek(0)
    except OSError as error:
        archive.close()
        raise InputError(_unreadable(folder, error)) from None
    except BaseException:
        archive.close()
        raise
    return Context(archive, dockerfile[0], size)


def _ignored(folder: Path) -> list[str]:
    path = folder / ".dockerignore"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _unreadable(folder: Path, error: OSError) -> Problem:
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    where = os.fsdecode(reason.filename or folder)
    what = f"{reason.strerror or error}; make it readable or list it in {folder}/.dockerignore"
    return Problem(where, what)
