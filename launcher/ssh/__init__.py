"""One SSH connection a host for a whole run, and what goes through it.

`Connections` resolves hosts as `ssh` would (~/.ssh/config, jumps, keys, known_hosts), paces the
logins and shares jump hosts; a `Connection` opens sockets on its host and runs commands there.
paramiko is imported when the first connection is made, not before.
"""

from launcher.ssh.connection import Connection
from launcher.ssh.connections import Connections
from launcher.ssh.stream import SocketLike
from launcher.ssh.values import Completed, Target

__all__ = ["Completed", "Connection", "Connections", "SocketLike", "Target"]
