"""Whom a container runs as, and the folders that this user may write to.

An image names its user as it likes: by id, by name, with a group or without. What a name means
stands in the image's own /etc/passwd, read from a created container as the engine would.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence

from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files.archive import ROOT, Archive, Owner, Writer
from launcher.layout import CONTAINER_OUTPUT_DIR

_MISSING = 404
_MOST_LINKS = 8
_FOLDER_MODE = 0o755


def owner_of(engine: Engine, user: str, container_id: str) -> Owner:
    """Return whom the processes of a created container will run as.

    user: the `User` of the image's (or the container's) configuration: ``, `1000`, `1000:1000`,
        `name`, `name:group`. As with Docker, a user without a group has that of /etc/passwd, and
        an id that is not there has group 0.

    Raises:
        HostError: the image has no such user or group.
    """
    name, _, group = user.partition(":")
    if name in ("", "0", "root") and not group:
        return ROOT
    if name.isdecimal() and group.isdecimal():
        return Owner(int(name), int(group))
    owner = _user(engine, name, container_id)
    if not group:
        return owner
    return owner._replace(gid=_group(engine, group, container_id))


def output_archive(owner: Owner, folders: Sequence[str] = (CONTAINER_OUTPUT_DIR,)) -> Archive:
    """Return empty folders that belong to `owner`, for fresh volumes, which belong to root."""
    with Writer(owner) as writer:
        for folder in folders:
            writer.add_folder(folder, _FOLDER_MODE)
        return writer.done()


def _user(engine: Engine, name: str, container_id: str) -> Owner:
    for fields in _records(engine, container_id, "/etc/passwd"):
        if len(fields) > 3 and name in (fields[0], fields[2]):
            return Owner(int(fields[2]), int(fields[3]))
    if name.isdecimal():
        return Owner(int(name), 0)
    raise _unknown(engine, "user", name, "/etc/passwd")


def _group(engine: Engine, name: str, container_id: str) -> int:
    if name.isdecimal():
        return int(name)
    for fields in _records(engine, container_id, "/etc/group"):
        if len(fields) > 2 and fields[0] == name:
            return int(fields[2])
    raise _unknown(engine, "group", name, "/etc/group")


def _unknown(engine: Engine, what: str, name: str, path: str) -> HostError:
    return HostError(
        f"{engine.host}: the image runs as {what} {name}, whom its {path} does not know; "
        "name a number in its USER, or make the user there"
    )


def _records(engine: Engine, container_id: str, path: str) -> Iterator[list[str]]:
    """Yield the fields of each line of /etc/passwd or /etc/group that holds numbers."""
    text = read_file(engine, container_id, path).decode("utf-8", "replace")
    for line in text.splitlines():
        fields = line.split(":")
        if all(field.isdecimal() for field in fields[2 : 4 if path.endswith("passwd") else 3]):
            yield fields


def read_file(engine: Engine, container_id: str, path: str) -> bytes:
    """Return what a small file in a container holds; nothing where there is no such file.

    Raises HostError.
    """
    try:
        with engine.errors(f"cannot read {path} in a container"):
            for _ in range(_MOST_LINKS):
                chunks, stat = engine.api.get_archive(container_id, path)
                archive = io.BytesIO(b"".join(chunks))
                if not stat["linkTarget"]:
                    return _only_file(archive)
                path = stat["linkTarget"]
    except EngineError as error:
        if error.status != _MISSING:
            raise
    return b""


def _only_file(archive: io.BytesIO) -> bytes:
    try:
        with tarfile.open(fileobj=archive) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member else None
            return file.read() if file else b""
    except tarfile.TarError:
        return b""
