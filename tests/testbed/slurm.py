"""A Slurm cluster of the testbed's hosts: slurmctld on the first, a slurmd on each.

The daemons have their hosts' networks and this machine's files: a folder that the submitting
machine and all nodes share, as Slurm's users have it. They end with their hosts' networks, so
whatever takes a testbed down takes them down. Only their cgroups are left to remove.

The GPUs are fakes: further null devices, which Slurm counts out by their names.
"""

import contextlib
import functools
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Collection

from tests.testbed import network, packages
from tests.testbed.commands import TestbedError, run, until
from tests.testbed.host import Host
from tests.testbed.machine import PATH
from tests.testbed.sweep import remove_cgroups, slurm_cgroup
from tests.testbed.testbed import Testbed

CPUS = 8  # that each node says it has, whatever this machine has
GPUS = 2
PROGRAMS = {
    "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge",
}  # fmt: skip
_ENDED_S = 30.0

_CONFIG = """\
ClusterName={cluster}
SlurmctldHost={hostname}({address})
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=10
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1
PartitionName=first Nodes=ALL PriorityTier=2
"""


class Slurm:
    """Slurm on a testbed's hosts. Make one with `up`; take it down with `down`."""

    def __init__(self, bed: Testbed) -> None:
        self._bed = bed
        self.folder = bed.site.folder / "slurm"
        self.nodes = tuple(bed.site.netns(host.name) for host in bed.hosts)

    @classmethod
    def up(cls, bed: Testbed) -> "Slurm":
        """Return a cluster whose nodes are all idle.

        Raises:
            Unavailable: this machine cannot have one.
            TestbedError: it did not come up (and is gone again).
        """
        packages.require(PROGRAMS)
        made = cls(bed)
        made.down()
        try:
            made._start()
        except BaseException:
            made.down()
            raise
        return made

    def down(self) -> None:
        """End every daemon and job, and remove their files."""
        for node in self.nodes:
            until(
                functools.partial(_is_empty, node), f"Slurm's processes on {node} to end", _ENDED_S
            )
            remove_cgroups(slurm_cgroup(node))
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """What Slurm's own programs need in their environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *argv: str, check: bool = True) -> str:
        """Return what one of Slurm's programs prints."""
        env = [f"{name}={value}" for name, value in self.environ.items()]
        return run("env", *env, *argv, check=check).stdout.removesuffix("\n")

    def states(self) -> dict[str, str]:
        """Return each node's state, in Slurm's words."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def hurry(self, job: str) -> None:
        """Let a job that is queued again begin sooner than Slurm would.

        In the same second the nodes would take its credential for the old one, which is revoked.
        """
        asked = ("squeue", "--noheader", f"--jobs={job}", "--format=%T %r")
        until(lambda: self.run(*asked) == "PENDING BeginTime", f"job {job} to be queued", _ENDED_S)
        self.run("scontrol", "update", f"jobid={job}", "starttime=now+2")

    def addresses(self, nodes: Collection[str]) -> set[str]:
        """Return the addresses of nodes."""
        pairs = zip(self.nodes, self._bed.hosts, strict=True)
        return {host.address for node, host in pairs if node in nodes}

    def clear(self) -> None:
        """Cancel every job, and return when all nodes are idle again."""
        jobs = self.run("squeue", "--noheader", "--format=%i").split()
        if jobs:
            self.run("scancel", "--signal=KILL", "--full", *jobs, check=False)
            self.run("scancel", *jobs, check=False)
        for node, state in self.states().items():
            if "drain" in state:
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
        until(self._is_idle, "all nodes to be idle", _ENDED_S)

    def _is_idle(self) -> bool:
        states = self.states()
        return len(states) == len(self.nodes) and set(states.values()) == {"idle"}

    def _start(self) -> None:
        for name in ("state", *self.nodes):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(self._config())
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        self._write_gpus()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = ("socket", "key-file", "pid-file", "log-file", "seed-file")
        munge = (f"--{file}={self.folder}/munge.{file.removesuffix('-file')}" for file in files)
        first = self._bed.hosts[0]
        self._daemon(first, "munged", "--force", *munge)
        self._daemon(first, "slurmctld")
        for host, node in zip(self._bed.hosts, self.nodes, strict=True):
            self._daemon(host, "slurmd", "-N", node)
        try:
            until(self._is_up, "Slurm's nodes to be idle", _ENDED_S)
        except TestbedError as error:
            logs = (self.folder / f"{name}.log" for name in ("slurmctld", *self.nodes))
            texts = [f"{log}:\n{log.read_text()[-2000:]}" for log in logs if log.exists()]
            raise TestbedError("\n".join([str(error), *texts])) from None

    def _is_up(self) -> bool:
        try:
            return self._is_idle()
        except TestbedError:  # slurmctld does not answer yet
            return False

    def _config(self) -> str:
        nodes = [
            f"NodeName={node} NodeAddr={host.address} NodeHostname={socket.gethostname()}"
            f" CPUs={CPUS} RealMemory=8192 Gres=gpu:{GPUS}"
            for host, node in zip(self._bed.hosts, self.nodes, strict=True)
        ]
        return _CONFIG.format(
            cluster=f"launch{self._bed.site.name}", hostname=socket.gethostname(),
            address=self._bed.hosts[0].address, folder=self.folder, nodes="\n".join(nodes),
        )  # fmt: skip

    def _write_gpus(self) -> None:
        for number in range(GPUS):
            os.mknod(self.folder / f"nvidia{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        file = f"{self.folder}/nvidia[0-{GPUS - 1}]"
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={file}\n")

    def _daemon(self, host: Host, *argv: str) -> None:
        """Start a daemon in a host's network, with this machine's files."""
        env = {"PATH": PATH, "LANG": "C.UTF-8", **self.environ}
        words = ("nsenter", f"--net=/run/netns/{self._bed.site.netns(host.name)}", *argv)
        with (self.folder / "start.log").open("ab") as log:
            done = subprocess.run(words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, timeout=60, check=False)  # fmt: skip
        if done.returncode:
            said = (self.folder / "start.log").read_text()
            raise TestbedError(f"{argv[0]} did not start: {said}")


def _is_empty(netns: str) -> bool:
    """Kill what is in a host's network with this machine's files; whether nothing was."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    found = False
    for pid in network.processes_in(netns):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.stat(f"/proc/{pid}/ns/mnt").st_ino == ours:
                os.kill(pid, signal.SIGKILL)
                found = True
    return not found
