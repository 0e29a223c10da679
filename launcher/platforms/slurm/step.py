"""One attempt of a task as a job step: the command line that starts it on its node. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher.container import Container
from launcher.plan import Plan
from launcher.platforms.slurm.settings import Kept, Runtime

BEGUN = "step"  #: the kind of the marker line with which every step begins
#: What every step is started with: it shares all that the job has on its node.
SRUN = ("srun", "--overlap", "--mem=0", "--mpi=none", "--input=none", "--quiet")
FILE = "step.sh"  #: in the run's folder: what every step runs

# Slurm's own signals reach this shell and not the task, which leads a session of its own: in which
# order tasks end is the launcher's to say, and each is told once. It asks for the end by SIGUSR2
# or SIGURG, again and again: a shell may take in a signal and yet wait on. The rest of what was
# asked to end has its grace.
SCRIPT = """\
# Every task of the run: step.sh GPUS COMMAND…
task= group= asked=
trap : TERM
trap '[ "$asked" ] || [ -z "$task" ] || { asked=1; kill -s TERM -- "$group$task"; }' URG USR2
printf '@launch {"kind":"step","id":"%s","node":"%s"}\\n' "$SLURM_STEP_ID" "$SLURMD_NODENAME"
export CUDA_VISIBLE_DEVICES="$1"
export APPTAINERENV_CUDA_VISIBLE_DEVICES="$1" SINGULARITYENV_CUDA_VISIBLE_DEVICES="$1"
shift
if command -v setsid >/dev/null; then group=-; set -- setsid "$@"; fi
"$@" &
task=$!
while wait "$task"; code=$?; kill -s 0 "$task" 2>/dev/null; do :; done
if [ "$code" -gt 128 ]; then  # a signal may have hidden the end that came with it
    wait "$task"
    last=$?
    [ "$last" = 127 ] || code=$last
fi
while [ "$asked" ] && [ "$group" ] && kill -s 0 -- "-$task" 2>/dev/null; do
    sleep 0.1
done
exit "$code"
"""
_ENV = {Runtime.APPTAINER: "APPTAINERENV_", Runtime.SINGULARITY: "SINGULARITYENV_"}
_REGISTRY = re.compile(r"^([^/]*[.:][^/]*|localhost)/(.+)$")


class Places(NamedTuple):
    """How tasks run on the nodes of one plan.

    binds: the folders that a container sees: there, inside, read-only.
    binds_cpus: whether Slurm would bind a task to some cores.
    """

    plan: Plan
    container: Runtime | None = None
    image: str = ""
    binds: tuple[tuple[str, str, bool], ...] = ()
    binds_cpus: bool = False

    def argv(self, task: Container, attempt: int) -> tuple[str, ...]:
        """Return what starts an attempt, run inside the allocation."""
        options = ["--nodes=1", "--ntasks=1", f"--nodelist={task.host}",
                   f"--job-name={task.task.slug}.{attempt}",
                   f"--chdir={task.work_dir}"]  # fmt: skip
        if self.binds_cpus:
            options.append("--cpu-bind=none")
        if self.container is Runtime.PYXIS:
            options += self._pyxis(task)
        shell = ("/bin/sh", f"{self.plan.run_dir}/{FILE}", ",".join(task.gpus))
        return (*SRUN, *options, *shell, *self._command(task))

    def env(self, task: Container) -> Mapping[str, str]:
        """Return a task's environment on top of the job's."""
        env = self.plan.env(task)
        prefix = _ENV.get(self.container) if self.container else None
        return {**env, **{f"{prefix}{name}": text for name, text in env.items()}} if prefix else env

    def _command(self, task: Container) -> Sequence[str]:
        if self.container not in _ENV:
            return task.argv
        words = [self.container.value, "exec", "--cleanenv", "--no-home", f"--pwd={task.work_dir}"]
        for source, target, read_only in self.binds:
            words.append(f"--bind={source}:{target}{':ro' if read_only else ''}")
        nv = ["--nv"] if task.gpus else []
        return (*words, *nv, apptainer_image(self.image), *task.argv)

    def _pyxis(self, task: Container) -> list[str]:
        mounts = [f"{s}:{t}{':ro' if read_only else ''}" for s, t, read_only in self.binds]
        return [
            f"--container-image={enroot_image(self.image)}",
            f"--container-workdir={task.work_dir}",
            f"--container-mounts={','.join(mounts)}",
            "--no-container-mount-home",
        ]


def apptainer_image(image: str) -> str:
    """Return an image as Apptainer calls it: a file, a URI, or one of a registry."""
    is_file = image.startswith(("/", "./", "../")) or image.endswith((".sif", ".img", ".sqsh"))
    return image if is_file or "://" in image else f"docker://{image}"


def enroot_image(image: str) -> str:
    """Return an image as enroot calls it: a file, or REGISTRY#NAME."""
    name = image.removeprefix("docker://")
    if image.startswith(("/", "./", "../")) or "#" in name or "://" in name:
        return image
    return _REGISTRY.sub(r"\1#\2", name)


def binds(kept: Kept, run_dir: str) -> tuple[tuple[str, str, bool], ...]:
    """Return the folders that a container sees, at the paths that they have on the nodes.

    The run's own folder, where the command was given and, unless the image has it, the script's
    are among them.
    """
    if kept.container is None:
        return ()
    spec, job = kept.spec, kept.job
    code = [] if kept.code_in_image else [(job.script or "").rpartition("/")[0], spec.code]
    same = [run_dir, job.cwd, *code, spec.checkpoints]
    found = {path: (path, path, False) for path in same if path}
    if spec.data and (data := spec.data.path or spec.data.sync):
        found.setdefault(data, (data, data, spec.data.read_only))
    volumes = ((volume.path, volume.at, volume.read_only) for volume in spec.volumes)
    return (*found.values(), *volumes)
