"""This machine's Docker, for commands that work on images here."""

import os
import warnings

from launcher.engine import Engine, local_socket, open_local

HERE = "this machine"


def has_engine() -> bool:
    """Whether this machine has a Docker socket at all."""
    return os.path.exists(local_socket(os.environ))


def local_engine() -> Engine:
    """Return this machine's engine. Raises HostError where there is none to talk to."""
    # A credential helper that is not there is told as an error, in whole sentences.
    warnings.filterwarnings("ignore", module="docker.credentials")
    return Engine(HERE, open_local, local_socket(os.environ))
