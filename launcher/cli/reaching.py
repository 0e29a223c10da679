"""The hosts that a command asks about runs: whose they are, and how long they are waited for."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import config
from launcher.cli.prompt import ask_unseen
from launcher.cluster import Backend, Host
from launcher.errors import InputError, Problem
from launcher.logins import UNREACHABLE_S, Logins

if TYPE_CHECKING:
    from launcher.hosts import Opened

CLUSTER = "cluster.yaml"
_HOMING_S = 60.0  # between two looks for checkpoints to bring home
_CONNECT_S = 8.0  # who reads about runs does not wait long for a host that is gone


def runs_folder(given: str | None) -> Path:
    """Return the folder in which runs are kept."""
    return Path(given or os.environ.get("LAUNCH_RUNS") or "runs").absolute()


def cluster_hosts(cluster: str | None) -> Mapping[str, Host] | None:
    """Return the hosts of a cluster's containers: of the file that is given, else of the one here.

    None where there is neither file; empty where the file's tasks are processes.

    Raises:
        InputError: the file cannot be read.
    """
    if cluster is None and not os.path.exists(CLUSTER):
        return None
    spec = config.read(cluster or CLUSTER)
    return spec.hosts if spec.backend is Backend.DOCKER else {}


def unreachable_s(environ: Mapping[str, str]) -> float:
    """Return after how long a host that cannot be reached is given up."""
    return _seconds(environ, "LAUNCH_UNREACHABLE_S", UNREACHABLE_S)


def homing_s(environ: Mapping[str, str]) -> float:
    """Return how often to look for checkpoints to bring home."""
    return _seconds(environ, "LAUNCH_HOMING_S", _HOMING_S)


def _seconds(environ: Mapping[str, str], name: str, otherwise: float) -> float:
    text = environ.get(name, "")
    try:
        seconds = float(text) if text else otherwise
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < threading.TIMEOUT_MAX:  # nothing waits longer, and "inf" is a number
        raise InputError(Problem(f"${name}", f"expected seconds > 0, got {text!r}"))
    return seconds


@contextlib.contextmanager
def reached(hosts: Mapping[str, Host]) -> "Iterator[Opened]":
    """Reach all of these hosts at once; the logins go on while this machine imports the rest."""
    gone_s = unreachable_s(os.environ)
    with Logins(hosts, ask_unseen(), connect_s=_CONNECT_S, unreachable_s=gone_s) as logins:
        from launcher.hosts import opened

        with opened(hosts, logins) as found:
            yield found
