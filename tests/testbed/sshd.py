"""The sshd of a host, with Debian's defaults, and what tests read from its log."""

from tests.testbed.commands import until
from tests.testbed.machine import Machine

_LOG = "/run/sshd.log"


class Sshd:
    """sshd inside `machine`: one listener a port."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def start(self, port: int = 22, options: tuple[str, ...] = ()) -> None:
        """Start a listener, and return when it accepts connections.

        `options` are as in sshd_config: `"AllowStreamLocalForwarding no"`.
        """
        words = [word for option in options for word in ("-o", option)]
        # Absolute paths: it executes itself again from / for every connection.
        pid_file = f"PidFile=/run/sshd.{port}.pid"
        self._machine.exec("/usr/sbin/sshd", "-E", _LOG, "-p", str(port), "-o", pid_file, *words)
        until(lambda: self.listens(port), f"sshd on {self._machine.name}, port {port}")

    def stop(self, port: int = 22) -> None:
        """End a listener; connections that stand go on."""
        pid_file = f"/run/sshd.{port}.pid"
        line = f"[ ! -e {pid_file} ] || kill $(cat {pid_file}); rm -f {pid_file}"
        self._machine.exec("sh", "-c", line, check=False)
        until(lambda: not self.listens(port), f"sshd on {self._machine.name} to end")

    def drop(self) -> None:
        """Kill what serves connections, so that every one breaks off; the listeners stay."""
        spared = 'cat /run/sshd.*.pid | grep -qx "$p"'
        line = f'for p in $(pgrep -x sshd); do {spared} || kill -9 "$p"; done'
        self._machine.exec("sh", "-c", line, check=False)

    def log(self) -> str:
        """Return what sshd has logged since the host was booted, at LogLevel VERBOSE."""
        path = self._machine.run_folder / "sshd.log"
        return path.read_text() if path.exists() else ""

    def connections(self) -> int:
        """Return how many logins have succeeded since the host was booted."""
        return self.log().count("Accepted publickey")

    def listens(self, port: int) -> bool:
        return bool(self._machine.exec("ss", "-Hltn", f"sport = :{port}").stdout.strip())
