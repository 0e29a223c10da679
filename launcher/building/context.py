"""A build's context: the files that a Dockerfile may copy, as one archive."""

import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from docker.utils import tar

from launcher.errors import InputError, Problem
from launcher.layout import CONTAINER_WORK_DIR

_CODE = ".launch.code"
_OUTSIDE = ".launch.Dockerfile"  # the name, inside, of a Dockerfile that lies elsewhere


class Context(NamedTuple):
    """The archive, a temporary file that is gone once closed, and the Dockerfile's name in it."""

    archive: IO[bytes]
    dockerfile: str
    size_bytes: int


def pack(folder: Path, file: Path, code: Mapping[str, str] = {}) -> Context:
    """Return the context of a build, without what its .dockerignore leaves out.

    code: files to be copied to /data after the Dockerfile's own steps, by their names there.

    Raises:
        InputError: a file that cannot be read.
    """
    root, inside = folder.absolute(), os.path.relpath(file, folder)
    is_outside = inside.startswith("..")
    archive = tempfile.TemporaryFile(prefix="launch-context-")  # noqa: SIM115 - the result holds it
    try:
        dockerfile = (_OUTSIDE, file.read_text()) if is_outside or code else (inside, None)
        if code:
            dockerfile = (_OUTSIDE, f"{dockerfile[1]}\nCOPY {_CODE}/ {CONTAINER_WORK_DIR}/\n")
        tar(root, exclude=_ignored(folder), dockerfile=dockerfile, fileobj=archive)
        if code:
            _add(archive, code)
        size = archive.seek(0, os.SEEK_END)
        archive.seek(0)
    except OSError as error:
        archive.close()
        raise InputError(_unreadable(folder, error)) from None
    except BaseException:
        archive.close()
        raise
    return Context(archive, dockerfile[0], size)


def _add(archive: IO[bytes], code: Mapping[str, str]) -> None:
    """Add the code: as any user of the image may read it, and with the same bytes each time."""

    def readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mode = 0o755 if member.mode & 0o100 else 0o644
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="a:", dereference=True) as whole:
        for name, path in sorted(code.items()):
            whole.add(path, f"{_CODE}/{name}", recursive=False, filter=readable)


def _ignored(folder: Path) -> list[str]:
    path = folder / ".dockerignore"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _unreadable(folder: Path, error: OSError) -> Problem:
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    where = os.fsdecode(reason.filename or folder)
    what = f"{reason.strerror or error}; make it readable or list it in {folder}/.dockerignore"
    return Problem(where, what)
