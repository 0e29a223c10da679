"""What the tasks of a run execute, and where things lie for them: as processes, in containers."""

from collections.abc import Mapping
from typing import NamedTuple

from launcher.cluster import Backend, ClusterSpec
from launcher.container import Mount

CONTAINER_WORK_DIR = "/data"  # the platform's code folder; data and output lie below it
CONTAINER_OUTPUT_DIR = f"{CONTAINER_WORK_DIR}/output"
CONTAINER_CHECKPOINT_DIR = f"{CONTAINER_WORK_DIR}/checkpoints"
CHECKPOINT_DIR = "LAUNCH_CHECKPOINT_DIR"  #: the variable that tells a task where they are
#: Its values on hosts that share no folder: of the chief and the evaluator, of all others.
CHECKPOINT_DIRS = (CONTAINER_CHECKPOINT_DIR, f"{CONTAINER_OUTPUT_DIR}/checkpoints")


class Job(NamedTuple):
    """What every task runs.

    script: absolute path of the Python script on this machine, or None for a plain command.
    args: the user's own arguments; the whole command when there is no script.
    cwd: the folder on this machine in which the user gave the command; processes start there.
    platform_args: whether the script gets --work_dir, --data_dir, --output_dir, --num_gpus and
        --log_dir before `args`.
    data_dir: where its data lies when the cluster names none.
    """

    name: str
    script: str | None
    args: tuple[str, ...]
    cwd: str
    platform_args: bool = False
    data_dir: str = ""


class Layout(NamedTuple):
    """Where things lie for the tasks of one run, every path as the tasks see it.

    command: what comes before the arguments: the interpreter and the script, or nothing.
    output_root: each task's own folder lies below it; None where every task has a volume of its
        own.
    checkpoint_dir: where the chief writes its checkpoints, and the evaluator reads them.
    checkpoint_mounts: what these two alone see, where nothing is shared: a volume for checkpoints,
        which each host has for itself. Others' checkpoints are part of their output there.
    """

    command: tuple[str, ...]
    work_dir: str
    script_dir: str
    data_dir: str
    output_root: str | None
    checkpoint_dir: str
    mounts: tuple[Mount, ...] = ()
    checkpoint_mounts: tuple[Mount, ...] = ()

    @classmethod
    def of(cls, spec: ClusterSpec, job: Job, run_id: str, run_dir: str, python: str) -> "Layout":
        """Return the layout of a run; `python` runs scripts here where the spec names none."""
        if spec.backend is Backend.DOCKER:
            layout = cls._in_containers(spec, job, run_id)
        else:
            layout = cls._here(spec, job, run_dir, python)
        if spec.checkpoints is None:
            return layout
        return layout._replace(checkpoint_dir=f"{spec.checkpoints}/{run_id}")

    @classmethod
    def _here(cls, spec: ClusterSpec, job: Job, run_dir: str, python: str) -> "Layout":
        return cls(
            command=(spec.python or python, job.script) if job.script else (),
            work_dir=job.cwd,
            script_dir=(job.script or "").rpartition("/")[0],
            data_dir=(spec.data.path or spec.data.sync or "") if spec.data else job.data_dir,
            output_root=f"{run_dir}/output",
            checkpoint_dir=f"{run_dir}/checkpoints",
        )

    @classmethod
    def _in_containers(cls, spec: ClusterSpec, job: Job, run_id: str) -> "Layout":
        script = _in_container(job.script, spec.code)
        mounts = [Mount(*volume) for volume in spec.volumes]
        if spec.data:
            source = spec.data.path or spec.data.sync or ""
            synced = spec.data.path is None
            mounts.append(Mount(source, spec.data.at, spec.data.read_only, synced))
        own = checkpoint_mount(run_id)
        if spec.checkpoints:
            mounts.append(Mount(spec.checkpoints, spec.checkpoints, read_only=False))
        elif spec.is_here:
            mounts.append(own)
        return cls(
            command=(spec.python or "python", script) if script else (),
            work_dir=CONTAINER_WORK_DIR,
            script_dir=CONTAINER_WORK_DIR,
            data_dir=spec.data.at if spec.data else f"{CONTAINER_WORK_DIR}/data",
            output_root=None,
            checkpoint_dir=CONTAINER_CHECKPOINT_DIR,
            mounts=tuple(mounts),
            checkpoint_mounts=() if spec.checkpoints or spec.is_here else (own,),
        )

    def output_dir(self, task: str) -> str:
        """Return where a task, given by its name in paths, writes its results."""
        if self.output_root is None:
            return CONTAINER_OUTPUT_DIR
        return f"{self.output_root}/{task}"

    def platform_args(self, output_dir: str, gpus: int) -> tuple[str, ...]:
        """Return the arguments that a managed platform gives a trainer too."""
        return (
            f"--work_dir={self.script_dir}",
            f"--data_dir={self.data_dir}",
            f"--output_dir={output_dir}",
            f"--num_gpus={gpus}",
            f"--log_dir={output_dir}/logs",
        )

    def env(self, spec: ClusterSpec, run_id: str) -> Mapping[str, str]:
        """Return the environment that all tasks share."""
        env = {
            "PYTHONUNBUFFERED": "1",
            **spec.env,
            "LAUNCH_RUN": run_id,
            "LAUNCH_STRATEGY": spec.strategy.value,
            "LAUNCH_MARKERS": "1",
            CHECKPOINT_DIR: self.checkpoint_dir,
        }
        if self.checkpoint_mounts:
            env[CHECKPOINT_DIR] = CHECKPOINT_DIRS[1]  # of all but two
        if spec.backend is Backend.PROCESS:
            env["LAUNCH_SUPERVISED"] = "1"  # a container does not see whether its launcher lives
        elif spec.is_here:
            env["LAUNCH_HOST_TASKS"] = str(len(spec.tasks))  # their addresses do not tell
        return env


def checkpoint_mount(run_id: str) -> Mount:
    """Return the volume for a run's checkpoints that a host has where none is shared."""
    return Mount(volume_name(run_id, "checkpoints"), CONTAINER_CHECKPOINT_DIR, read_only=False)


def volume_name(run_id: str, what: str) -> str:
    """Return the name of a Docker volume of a run."""
    return f"launch-{run_id}-{what}"


def _in_container(script: str | None, code: str | None) -> str:
    """Return where a script of this machine lies in a container; nothing for no script.

    `code` is copied with its folders; a script from elsewhere comes beside it.
    """
    if script is None:
        return ""
    if code and script.startswith(f"{code}/"):
        return f"{CONTAINER_WORK_DIR}/{script.removeprefix(f'{code}/')}"
    return f"{CONTAINER_WORK_DIR}/{script.rpartition('/')[2]}"
