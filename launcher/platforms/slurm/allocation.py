"""What a job was given: its nodes, how many tasks Slurm counts on each, their GPUs and free ports.

Read inside the job, from its environment and by one step on every node.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from launcher.cluster import Backend, ClusterSpec, Host, Task
from launcher.errors import HostError, InputError, Problem
from launcher.placement import HostFacts
from launcher.platforms.slurm.commands import Refused, run
from launcher.platforms.slurm.step import SRUN
from launcher.ports import HOLDING, TABLES
from launcher.task import TaskId

# Below the range from which Linux hands out ports for outgoing connections by default.
_PORTS = range(20000, 32000)
_PORTS_OFFERED = 64  # beside one a task
_BINDING = re.compile(r"^TaskPlugin\s*=.*task/(affinity|cgroup)", re.MULTILINE)
_KEPT = ("SLURM_CONF", "SLURM_JOB_ID")
_NO_GPUS = ("", "NoDevFiles", "-1")
_TRIES = 3
# What Slurm gives a step on each node, and the ports that are held there: short, since srun has
# been seen to lose a step whose output was long.
_STATES = "|".join(sorted(HOLDING))
_ASK = rf"""
echo "$SLURMD_NODENAME gpus ${{CUDA_VISIBLE_DEVICES:-}}"
port='^ *[0-9]+: [0-9A-F]+:([0-9A-F]+) [0-9A-F]+:[0-9A-F]+ ({_STATES}) .*'
echo "$SLURMD_NODENAME ports" $(sed -nE "s/$port/\1/p" {" ".join(TABLES)} 2>/dev/null | sort -u)
"""


class Node(NamedTuple):
    """One node of the job.

    slots: how many tasks Slurm counts on it.
    """

    name: str
    address: str
    slots: int
    gpus: tuple[str, ...] = ()
    taken_ports: frozenset[int] = frozenset()


class Allocation(NamedTuple):
    """A job's own view of itself.

    environ: what its steps are started with: none of Slurm's variables that srun would take for
        options.
    spares: whether Slurm signals a step's first process alone: proctrack/linuxproc means all.
    binds_cpus: whether a step's tasks may be bound to some of the job's cores.
    """

    job_id: str
    nodes: tuple[Node, ...]
    environ: Mapping[str, str]
    spares: bool = True
    binds_cpus: bool = True

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Allocation":
        """Return the allocation of the job in which this runs.

        Raises:
            InputError: this is no job of Slurm's.
            HostError: Slurm does not describe it.
        """
        job_id, listed = environ.get("SLURM_JOB_ID"), environ.get("SLURM_JOB_NODELIST")
        if not job_id or not listed:
            what = "not set; expected to be started by Slurm, from the script of a submitted run"
            raise InputError(Problem("$SLURM_JOB_ID", what))
        slots = tuple(_slots(environ.get("SLURM_TASKS_PER_NODE", "1")))
        count = len(slots)
        env = step_environ(environ)
        with ThreadPoolExecutor(3) as pool:
            asked = pool.submit(_asked, count, env)
            shown = pool.submit(run, ["scontrol", "show", "node", "--oneliner", listed], env)
            config = pool.submit(run, ["scontrol", "show", "config"], env)
            addresses = dict(_addresses(shown.result()))
            plugins = config.result()
            said = asked.result()
        named = zip(addresses.items(), slots, strict=False)
        nodes = tuple(_node(name, address, n, said) for (name, address), n in named)
        spares = "proctrack/linuxproc" not in plugins
        return cls(job_id, nodes, env, spares, bool(_BINDING.search(plugins)))

    def placed(self, spec: ClusterSpec) -> ClusterSpec:
        """Return the cluster with its tasks on the nodes, as many on each as Slurm counts.

        Those that want the most GPUs are placed first, as the script has counted them. Where they
        find no room so, GPUs count and Slurm's numbers of tasks do not. On nodes that are lost
        none is placed.

        Raises:
            HostError: the job has too few GPUs, or no node.
        """
        left = [node for node in self.nodes if node.name not in spec.lost]
        if not left:
            raise HostError(f"job {self.job_id}: no node is left")
        order = sorted(spec.tasks, key=lambda task: -task.gpus)
        try:
            on = self._placing(left, order, by_slots=True)
        except HostError:
            on = self._placing(left, order, by_slots=False)
        hosts = {node.name: Host(node.address, node.gpus) for node in self.nodes}
        tasks = tuple(task._replace(host=on[task.id], port=None) for task in spec.tasks)
        return spec._replace(hosts=hosts, tasks=tasks, backend=Backend.PROCESS, image=None)

    def _placing(
        self, nodes: Collection[Node], tasks: Collection[Task], *, by_slots: bool
    ) -> Mapping[TaskId, str]:
        """Return on which node each task stands: a slot and GPUs are there, or GPUs alone."""
        slots = {node.name: node.slots for node in nodes}
        gpus = {node.name: len(node.gpus) for node in nodes}
        taken = dict.fromkeys(gpus, 0)
        on = {task.id: task.place.host for task in tasks if task.place}
        for place in (task.place for task in tasks if task.place):
            slots[place.host] -= 1
            taken[place.host] += len(place.device_ids)
        for task in tasks:
            if task.id in on:
                continue
            roomy = [name for name in gpus if gpus[name] - taken[name] >= task.gpus]
            if not roomy:
                what = f"{task.id} wants {task.gpus} of a node's GPUs; none in the job has them"
                raise HostError(f"job {self.job_id}: {what}")
            name = min(roomy, key=lambda name: (
                slots[name] <= 0 if by_slots or not task.gpus else taken[name],
                taken[name] - gpus[name], -slots[name],
            ))  # fmt: skip
            slots[name] -= 1
            taken[name] += task.gpus
            on[task.id] = name
        return on

    def facts(self, tasks: int) -> Mapping[str, HostFacts]:
        """Return what planning must know of each node."""
        return {node.name: HostFacts(_free_ports(node, tasks), node.gpus) for node in self.nodes}

    def goes_on(self) -> bool:
        """Whether Slurm lets the job run: it was told of an end that is near, and not ended."""
        try:
            said = run(["squeue", "--noheader", f"--jobs={self.job_id}", "--format=%T"])
        except HostError:
            return False
        return said.strip() == "RUNNING"

    def requeue(self) -> None:
        """Have the job end here, and begin again when there is room. Raises HostError."""
        run(["scontrol", "requeue", self.job_id])


def step_environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment in which srun takes its options from its command line alone."""
    return {
        name: text
        for name, text in environ.items()
        if name in _KEPT or not name.startswith(("SLURM", "SRUN_", "CUDA_VISIBLE", "TF_CONFIG"))
    }


def _slots(text: str) -> Iterator[int]:
    """Yield the numbers of `2(x3),1`."""
    for part in text.split(","):
        if found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip()):
            yield from [int(found[1])] * int(found[2] or 1)


def _addresses(shown: str) -> Iterator[tuple[str, str]]:
    for line in shown.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if name := fields.get("NodeName"):
            yield name, fields.get("NodeAddr") or name


def _asked(nodes: int, environ: Mapping[str, str]) -> Mapping[tuple[str, str], list[str]]:
    """Return what a step on each node says, by the node's name and what it is of.

    Raises:
        HostError: it failed again and again.
    """
    argv = [*SRUN, f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
            "--job-name=ports", "/bin/sh", "-c", _ASK]  # fmt: skip
    for left in reversed(range(_TRIES)):
        try:
            lines = (line.split() for line in run(argv, environ).splitlines())
            return {(words[0], words[1]): words[2:] for words in lines if len(words) > 1}
        except Refused:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _node(name: str, address: str, slots: int, said: Mapping[tuple[str, str], list[str]]) -> Node:
    if (name, "ports") not in said:
        raise Refused(f"{name}: the job's step there said nothing")
    gpus = ",".join(said.get((name, "gpus"), ()))
    ids = tuple(each for each in gpus.split(",") if each not in _NO_GPUS)
    return Node(name, address, slots, ids, frozenset(int(p, 16) for p in said[name, "ports"]))


def _free_ports(node: Node, tasks: int) -> tuple[int, ...]:
    start = int.from_bytes(os.urandom(4), "big")
    order: Iterable[int] = (_PORTS[(start + step) % len(_PORTS)] for step in range(len(_PORTS)))
    free = (port for port in order if port not in node.taken_ports)
    return tuple(port for port, _ in zip(free, range(tasks + _PORTS_OFFERED), strict=False))
