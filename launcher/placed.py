"""One task of a run, from what was asked for and the place that it got to what is started there."""

from collections.abc import Mapping
from typing import NamedTuple

from launcher.address import Address
from launcher.cluster import Backend, ClusterSpec, Task
from launcher.container import Container, Limits, Mount
from launcher.layout import CHECKPOINT_DIR, Job, Layout, volume_name
from launcher.task import EVALUATOR


class Placed(NamedTuple):
    """What all tasks of a run have in common once they have their places."""

    spec: ClusterSpec
    job: Job
    run_id: str
    layout: Layout
    env: Mapping[str, str]

    def container(
        self, task: Task, host: str, address: Address, gpus: tuple[str, ...]
    ) -> Container:
        """Return one task, placed."""
        layout, job = self.layout, self.job
        output_dir = layout.output_dir(task.id.slug)
        platform = layout.platform_args(output_dir, len(gpus)) if job.platform_args else ()
        argv = (*layout.command, *platform, *task.args, *job.args)
        if not job.script:  # what was given is the whole command: its program stays the first word
            argv = (*job.args, *task.args)
        return Container(
            task=task.id,
            host=host,
            address=address,
            gpus=gpus,
            argv=argv,
            env=self._env(task, host),
            work_dir=layout.work_dir,
            output_dir=output_dir,
            image=self.spec.image,
            mounts=self._mounts(task, output_dir),
            limits=self._limits(task),
        )

    def _env(self, task: Task, host: str) -> Mapping[str, str]:
        interface = self.spec.hosts[host].nccl_interface or self.spec.nccl_interface
        apart = self._sees_checkpoints(task)
        if not task.env and not interface and not apart:
            return self.env  # shared: a large cluster's plan holds it once
        named = {"NCCL_SOCKET_IFNAME": interface} if interface else {}
        own = {CHECKPOINT_DIR: self.layout.checkpoint_dir} if apart else {}
        return {**named, **self.env, **own, **task.env}

    def _sees_checkpoints(self, task: Task) -> bool:
        """Whether a task is one of the two that see the host's volume for checkpoints."""
        is_either = task.id in (self.spec.tasks[0].id, EVALUATOR)
        return bool(self.layout.checkpoint_mounts) and is_either

    def _mounts(self, task: Task, output_dir: str) -> tuple[Mount, ...]:
        if self.spec.backend is Backend.PROCESS:
            return ()
        volume = volume_name(self.run_id, f"{task.id.slug}-output")
        apart = self.layout.checkpoint_mounts if self._sees_checkpoints(task) else ()
        return (*self.layout.mounts, *apart, Mount(volume, output_dir, read_only=False))

    def _limits(self, task: Task) -> Limits:
        spec = self.spec
        if spec.backend is Backend.PROCESS:
            return Limits()
        from launcher.size import size_bytes

        memory = task.memory or spec.memory
        ulimits = {name: _soft_hard(text) for name, text in spec.ulimits.items()}
        return Limits(
            size_bytes(spec.shm_size),
            size_bytes(memory) if memory else None,
            task.cpus or spec.cpus,
            ulimits,
        )


def _soft_hard(text: str) -> tuple[int, int]:
    soft, colon, hard = text.partition(":")
    return int(soft), int(hard if colon else soft)
