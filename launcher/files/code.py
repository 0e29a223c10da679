"""The code of a run as it goes into its containers, below /data there.

Without `code:` that is the script and the modules beside it which it imports; with it the whole
folder, less what its .dockerignore names. The files are read once, before any container exists.
"""

import ast
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence

from launcher.errors import HostError, InputError, Problem
from launcher.files.archive import Archive, Owner, Writer
from launcher.layout import CONTAINER_WORK_DIR

_IGNORE_FILE = ".dockerignore"
_IGNORED_ANYWAY = (".git", "**/__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache")


def code_archive(
    script: str | None, folder: str | None, owner: Owner, *, leave_out: Sequence[str] = ()
) -> Archive | None:
    """Return what a run's containers get at /data; None for nothing.

    script: absolute path of the script, None for a command. It lies at /data under its base name,
        or, where it is one of the folder's, at its place there.
    folder: absolute path of `code:`. Links, modes and times are kept.
    leave_out: absolute paths that are never sent, such as where runs are kept.

    The same files give the same bytes.

    Raises:
        InputError: something cannot be read.
        HostError: no room for the archive on this machine.
    """
    files = code_files(script, folder, leave_out=leave_out)
    if not files:
        return None
    return _archive(files, owner)


def code_files(
    script: str | None, folder: str | None, *, leave_out: Sequence[str] = ()
) -> dict[str, str]:
    """Return name below /data → path here of what a run's containers get there; see above.

    Raises:
        InputError: something cannot be read.
    """
    files: dict[str, str] = {}
    if script and not (folder and script.startswith(f"{folder}/")):
        files.update(_with_modules(script))
    if folder:
        files.update(_of_folder(folder, leave_out))
    return files


def _archive(files: dict[str, str], owner: Owner) -> Archive:
    """Return an archive of files, given as name → path."""
    problems = []
    with Writer(owner, on_disk=True) as writer:
        for name in sorted(files):
            try:
                writer.add_path(files[name], f"{CONTAINER_WORK_DIR}/{name}")
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise HostError(_no_room(error)) from None
                problems.append(Problem(files[name], f"cannot be read: {error.strerror or error}"))
        if problems:
            raise InputError(problems)
        return writer.done()


def _no_room(error: OSError) -> str:
    folder = tempfile.gettempdir()
    return f"{folder}: the run's code cannot be packed: {error.strerror}; make room, or set $TMPDIR"


def _of_folder(folder: str, leave_out: Sequence[str]) -> dict[str, str]:
    from docker.utils.build import PatternMatcher

    patterns = [*_ignored(folder)]
    for path in leave_out:
        if path.startswith(f"{folder}/"):
            patterns.append(os.path.relpath(path, folder))
    try:
        names = list(PatternMatcher(patterns).walk(folder))
    except OSError as error:
        path = error.filename or folder
        raise InputError(Problem(str(path), f"cannot be read: {error.strerror}")) from None
    return {name: os.path.join(folder, name) for name in names}


def _ignored(folder: str) -> tuple[str, ...]:
    """Return the patterns of the folder's .dockerignore, or what hardly anyone means to send."""
    path = os.path.join(folder, _IGNORE_FILE)
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        return _IGNORED_ANYWAY
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(Problem(path, f"cannot be read: {why}")) from None
    return tuple(line for line in lines if line and not line.startswith("#"))


def _with_modules(script: str) -> dict[str, str]:
    """Return name → path of a script and all that it imports from its own folder."""
    folder = os.path.dirname(script)
    found: dict[str, str] = {}
    unread = [script]
    while unread:
        path = unread.pop()
        name = os.path.relpath(path, folder)
        if name in found:
            continue
        found[name] = path
        for module in _imported(path):
            unread += _beside(folder, module)
    return found


def _imported(path: str) -> Iterator[str]:
    """Yield the first part of every module that a file imports; nothing for what is no Python."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # whoever runs it will say so
    for part in ast.walk(tree):
        if isinstance(part, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and not part.level:
            yield str(part.module).partition(".")[0]


def _beside(folder: str, module: str) -> Iterator[str]:
    """Yield the files that make up a module, or package, of a folder."""
    path = os.path.join(folder, module)
    if os.path.isfile(f"{path}.py"):
        yield f"{path}.py"
    for inner, _, names in os.walk(path):
        yield from (os.path.join(inner, name) for name in sorted(names) if name.endswith(".py"))
