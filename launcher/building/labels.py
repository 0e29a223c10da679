"""The labels of a built image: when, from which source, on what, and with which build arguments.

Names beginning with `org.opencontainers.image.` are the OCI image specification's.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from launcher.building.repository import STAMP_FORMAT
from launcher.container import masked

OCI = "org.opencontainers.image."
DIRTY = "launch.dirty"
BUILD_ARGS = "launch.build-args"
_GIT_S = 60  # a large tree on a network drive takes its time


class Source(NamedTuple):
    """The commit that a folder is at, and whether files in it differ from that commit."""

    commit: str
    is_dirty: bool


def source(folder: Path) -> Source | None:
    """Return the commit of a folder in a git tree; None where there is no tree, or no git."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".")
    if commit is None or changes is None:
        return None
    return Source(commit.strip(), bool(changes.strip()))


def _git(folder: Path, *words: str) -> str | None:
    # Only read: without this, git would refresh the index of a tree that is not ours.
    argv = ["git", "--no-optional-locks", "-C", os.fspath(folder), *words]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=_GIT_S,
            stdin=subprocess.DEVNULL, errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def labels(
    title: str,
    created: datetime,
    base_name: str | None,
    base_digest: str | None,
    build_args: Mapping[str, str],
    at: Source | None,
) -> dict[str, str]:
    """Return the labels of an image; what is not known gets none.

    Values of build arguments whose name looks secret are masked.
    """
    version = created.strftime(STAMP_FORMAT)
    known = {
        f"{OCI}title": title,
        f"{OCI}created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{OCI}version": version,
        f"{OCI}revision": at.commit if at else None,
        f"{OCI}base.name": base_name,
        f"{OCI}base.digest": base_digest,
        DIRTY: str(at.is_dirty).lower() if at else None,
        BUILD_ARGS: json.dumps(masked(build_args), sort_keys=True),
    }
    return {key: value for key, value in known.items() if value is not None}
