"""Who is to be reached by SSH, and what a command on a host gave: plain values."""

from typing import NamedTuple


class Target(NamedTuple):
    """A host as the user names it; what is given here wins over ~/.ssh/config.

    name: The host's name in cluster.yaml, for messages.
    host: What the user would type after `ssh`.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None


class Completed(NamedTuple):
    """A command that ended: its exit code (-1 where a signal ended it), and all that it wrote."""

    code: int
    stdout: bytes
    stderr: bytes
