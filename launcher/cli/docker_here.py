"""This machine's Docker, for commands that work on images here."""

import os
import warnings

from launcher.engine import Engine, local_socket, open_local

HERE = "this machine"


def local_engine() -> Engine:
    """Return this machine's engine. Raises HostError where there is none to talk to."""
    # A credential helper that is not there is told as an error, in whole sentences.
    warnings.filterwarnings("ignore", module="docker.credentials")
    return Engine(HERE, open_local, local_socket(os.environ))
