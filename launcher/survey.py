"""What a host is asked only when somebody wants to know all about it: `launch check --hosts`.

Beside the reading that every run takes: its Docker and where that keeps data, how it would come by
the image, and whether the image's user may write to the shared folder for checkpoints.
"""

from collections.abc import Iterator
from typing import NamedTuple

from launcher import questions
from launcher.cluster import ClusterSpec
from launcher.engine import Engine
from launcher.hosts import Machine
from launcher.images.outlook import Expected, Outlook
from launcher.readings import Disk, Folder, Reading, free

_OLDEST = (19, 3)  # the first Docker that gives GPUs by device id
_WRITE = 0o3  # to make a file in a folder one must write to it and enter it


class Survey(NamedTuple):
    """What came of it on one host.

    disk: where its Docker itself says that it keeps data.
    problems: what keeps a run from it.
    """

    docker: str
    image: Outlook
    disk: Disk | None
    problems: tuple[str, ...] = ()


def survey(
    machine: Machine, reading: Reading, spec: ClusterSpec, expected: Expected, here: Engine | None
) -> Survey:
    """Return all about one host. Raises HostError where it does not answer any more.

    here: the engine that has the image where the host itself has none.
    """
    with machine.engine.errors("does not describe itself"):
        info = machine.engine.api.info()
    docker = str(info.get("ServerVersion") or "?")
    image = expected.on(machine.engine)
    disk = _disk(machine, reading, str(info.get("DockerRootDir") or ""))
    problems = [*_too_old(docker)]
    if image.problem:
        problems.append(image.problem)
    if disk and 0 < disk.free_bytes < image.lacking_bytes:
        problems.append(f"the image has no room in {disk.path}")
    if reading.folders:
        engine = machine.engine if image.how == "there" else here
        user = _user(engine, spec.image or "") if engine else None
        problems += (
            f"the image's user ({user}) may not write to {folder.path}, the `checkpoints:` folder"
            for folder in reading.folders
            if user is not None and may_write(user, folder) is False
        )
    return Survey(docker, image, disk, tuple(problems))


def _too_old(version: str) -> Iterator[str]:
    parts = version.split(".")[:2]
    if all(part.isdigit() for part in parts) and tuple(map(int, parts)) < _OLDEST:
        yield f"its Docker is {version}; expected 19.03 or newer"


def _disk(machine: Machine, reading: Reading, path: str) -> Disk | None:
    """Return the room where Docker says that it keeps data; asked again only where that is news."""
    if not path or (reading.disk and reading.disk.path == path):
        return reading.disk
    lines = machine.shell(questions.disk(path)).splitlines()
    return free(path, lines[-1]) if lines else None


def _user(engine: Engine, image: str) -> str | None:
    with engine.errors("does not describe the image"):
        config = engine.api.inspect_image(image)["Config"] or {}
    return str(config.get("User") or "0")


def may_write(user: str, folder: Folder) -> bool | None:
    """Whether an image's `USER` may make files in a folder; None where that cannot be told.

    A name means what the image's /etc/passwd says, and nobody has looked there. What the folder's
    own server forbids is not seen either.
    """
    uid, _, gid = user.partition(":")
    if uid in ("0", "root"):
        return True
    if not uid.isdecimal() or (gid and not gid.isdecimal()):
        return None
    allowed = _bits(int(uid), int(gid or 0), folder)
    return allowed & _WRITE == _WRITE


def _bits(uid: int, gid: int, folder: Folder) -> int:
    if uid == folder.uid:
        return folder.mode >> 6
    return folder.mode >> 3 if gid == folder.gid else folder.mode
