"""What an engine tells of a path in a container, without sending it."""

import base64
import json
from datetime import datetime
from typing import NamedTuple

from launcher.engine import Engine

_FOLDER = 1 << 31  # as Go's io/fs has it
_NO_FILE = _FOLDER | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


class Stat(NamedTuple):
    """A file, a folder, or something else.

    mtime_s: in whole seconds, as archives have it.
    """

    size_bytes: int
    mtime_s: int
    is_file: bool
    is_folder: bool


def stat(engine: Engine, container_id: str, path: str) -> Stat | None:
    """Return what lies at `path`, None for nothing; links are not followed. Raises HostError."""
    told = engine.stat(container_id, path)
    return None if told is None else read(told)


def read(header: str) -> Stat:
    """Return what the header of an answer says."""
    said = json.loads(base64.b64decode(header))
    mode = int(said["mode"])
    at = datetime.fromisoformat(said["mtime"])
    return Stat(int(said["size"]), int(at.timestamp()), not mode & _NO_FILE, bool(mode & _FOLDER))
