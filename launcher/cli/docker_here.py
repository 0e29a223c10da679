"""This machine's Docker, for the commands that work on images."""

import os
from typing import TYPE_CHECKING

from launcher.errors import HostError

if TYPE_CHECKING:
    from launcher.engine import Engine

HERE = "this machine"
_PACKAGES = ("docker", "requests", "rich", "urllib3")


def missing(error: ModuleNotFoundError) -> HostError:
    """Return the error of a machine without the packages of the `docker` extra."""
    if (error.name or "").partition(".")[0] not in _PACKAGES:
        raise error
    return HostError(f"{error.name} is missing here: pip install 'tf-config-launch[docker]'")


def local_engine() -> "Engine":
    """Return this machine's engine. Raises HostError where there is none to talk to."""
    import warnings

    from launcher.engine import Engine, local_socket, open_local

    # A credential helper that is not there is told as an error, in whole sentences.
    warnings.filterwarnings("ignore", module="docker.credentials")
    return Engine(HERE, open_local, local_socket(os.environ))
