"""Why a Unix socket on a host cannot be opened. sshd says no more than "open failed"."""

import shlex
from collections.abc import Callable

from launcher.ssh.values import Completed

# One `name=value` a line; runs in any POSIX shell.
_SCRIPT = """
s=$1
echo user=$(id -un)
[ -e "$s" ] && echo exists=1
[ -S "$s" ] && echo socket=1
[ -w "$s" ] && echo writable=1
[ -e "$s" ] || { d=$(dirname "$s"); [ -d "$d" ] && [ ! -x "$d" ] && echo hidden=1; }
if command -v docker >/dev/null 2>&1; then
  echo docker=1
  env DOCKER_HOST="unix://$s" docker version >/dev/null 2>&1 && echo answers=1
fi
command -v systemctl >/dev/null 2>&1 && echo systemd=1
exit 0
"""


class Access:
    """What a host said of a socket.

    problem: why it cannot be used, nothing where it can, if only not by forwarding.
    """

    def __init__(self, answer: Completed, path: str) -> None:
        lines = answer.stdout.decode(errors="replace").splitlines()
        self._said = dict(line.split("=", 1) for line in lines if "=" in line)
        self.problem = self._problem(path)

    def _problem(self, path: str) -> str:
        if "user" not in self._said:
            return f"{path} cannot be opened, and no POSIX shell (sh) there can say why"
        user = self._said.get("user", "the user")
        if "hidden" in self._said or ("exists" in self._said and "writable" not in self._said):
            return (
                f"the user {user} may not use {path}; let them (sudo usermod -aG docker {user}) "
                "and log in again, which ends connections that are open"
            )
        if "exists" in self._said and "socket" not in self._said:
            return f"{path} is no socket; correct docker_socket of this host in cluster.yaml"
        if "exists" not in self._said and "docker" not in self._said:
            return (
                f"there is no {path} and no docker command: install Docker, or name the socket "
                "of its engine in cluster.yaml (docker_socket)"
            )
        start = "sudo systemctl start docker" if "systemd" in self._said else "dockerd"
        if "exists" not in self._said:
            return (
                f"there is no {path}: start Docker ({start}), or name the socket of its engine "
                "in cluster.yaml (docker_socket)"
            )
        if "docker" in self._said and "answers" not in self._said:
            return f"no Docker engine answers at {path}: start it again ({start})"
        if "docker" not in self._said:
            return (
                f"its sshd does not forward to {path}, and it has no docker command to do without: "
                "set AllowStreamLocalForwarding yes (and no DisableForwarding) in its sshd_config, "
                "and see that an engine listens there"
            )
        return ""


def inspect(run: Callable[[str, bytes], Completed], path: str) -> Access:
    """Ask a host about a socket, by one command that `run` carries out there."""
    return Access(run(f"sh -s -- {shlex.quote(path)}", _SCRIPT.encode()), path)
