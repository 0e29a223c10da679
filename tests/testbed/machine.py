"""One machine of the testbed: a set of namespaces that PID 1 in them holds open.

Ending that one process ends everything that runs in the machine, containers included, and with it
every mount that was made there. Knows nothing of networks, sshd or Docker.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.testbed.commands import TestbedError, run, until

_BOOT = Path(__file__).with_name("boot.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STOPPED_S = 20.0


class Holder(NamedTuple):
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    started_ticks: int

    @classmethod
    def parse(cls, stat: str) -> "Holder":
        """Return the process that a line of /proc/PID/stat is of."""
        pid = int(stat.split(" ", 1)[0])
        return cls(pid, int(stat.rpartition(")")[2].split()[19]))

    @property
    def lives(self) -> bool:
        """Whether this very process exists and is no zombie."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return Holder.parse(stat) == self and stat.rpartition(")")[2].split()[0] not in "ZX"


class Machine:
    """Namespaces under `folder`; with `netns` its own network and its own file system root."""

    def __init__(self, name: str, folder: Path, netns: str | None = None,
                 disk_bytes: int = 0) -> None:  # fmt: skip
        self.name = name
        self.folder = folder
        self._netns = netns
        self._disk_bytes = disk_bytes

    @property
    def run_folder(self) -> Path:
        """Where this machine's /run lies for the machine outside."""
        return self.folder / ("root/run" if self._netns else "run")

    @property
    def holder(self) -> Holder | None:
        """The process that holds the namespaces, or None where the machine was never booted."""
        try:
            return Holder.parse((self.folder / "holder").read_text())
        except (OSError, ValueError, IndexError):
            return None

    @property
    def is_up(self) -> bool:
        """Whether the machine runs."""
        holder = self.holder
        return holder is not None and holder.lives

    def boot(self) -> None:
        """Start the machine, with no daemon in it yet. Everything of /run is new."""
        shutil.rmtree(self.run_folder, ignore_errors=True)
        for name in ("sshd", "lock"):
            (self.run_folder / name).mkdir(parents=True, mode=0o755)
        kind = "host" if self._netns else "shared"
        net = ["nsenter", f"--net=/run/netns/{self._netns}"] if self._netns else []
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        if not self._netns:
            spaces.append("--propagation=slave")
        (self.folder / "holder").unlink(missing_ok=True)
        log = self.folder / "boot.log"
        # setsid forks: nobody here has to wait for the machine.
        words = [*net, *spaces, "sh", str(_BOOT), kind, self.name, str(self.folder)]
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", *words, str(self._disk_bytes)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True,
                env={"PATH": PATH, "LANG": "C.UTF-8"}, cwd="/",
            )  # fmt: skip
        try:
            until((self.run_folder / "booted").exists, f"{self.name} to boot", _STOPPED_S)
        except TestbedError as error:
            raise TestbedError(f"{error}: {log.read_text()}") from None

    def enter(self, *argv: str | Path) -> tuple[str, ...]:
        """Return the command line that runs `argv` inside."""
        holder = self.holder
        if holder is None or not holder.lives:
            raise TestbedError(f"{self.name} is not up")
        inside = ["nsenter", f"--target={holder.pid}", "--mount", "--uts", "--ipc", "--pid"]
        inside += ["--net", "--root", "--wd"]
        clean = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root"]
        return (*inside, *clean, *map(str, argv))

    def exec(self, *argv: str | Path, check: bool = True, stdin: str | None = None,
             deadline_s: float = 120.0) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Return a program that has ended, run as root inside this machine.

        Raises:
            TestbedError: it failed (unless `check` is False), or did not end in time.
        """
        return run(*self.enter(*argv), check=check, stdin=stdin, deadline_s=deadline_s)

    def daemon(self, argv: Sequence[str], log: str) -> None:
        """Start a program inside that outlives us; what it prints is appended to `log` there."""
        line = 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null'
        self.exec("setsid", "--fork", "sh", "-c", line, "sh", log, *argv)

    def halt(self) -> None:
        """End everything in this machine at once, as a power cut does."""
        holder = self.holder
        if holder is None or not holder.lives:
            return
        os.kill(holder.pid, signal.SIGKILL)
        until(lambda: not holder.lives, f"{self.name} to end", _STOPPED_S)
