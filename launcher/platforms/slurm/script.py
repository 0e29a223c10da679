"""The sbatch script of a run: what Slurm is asked for, from the cluster that is asked of us."""

import math
import shlex
from collections.abc import Iterator

from launcher.cluster import Backend, ClusterSpec, Task
from launcher.errors import Problem
from launcher.layout import CONTAINER_WORK_DIR
from launcher.platforms import Request
from launcher.platforms.slurm import options as sbatch_options
from launcher.platforms.slurm.options import is_word
from launcher.platforms.slurm.settings import Runtime, Settings

COMMENT = "launch:"  #: what a job's comment begins with, before the run's name
FILE = "job.sh"
_ASK = "#SBATCH "
_SPARE_S = 30  # beside the tasks' own grace, for the launcher to write down how it ended
_MIB = 1 << 20


def script(request: Request, settings: Settings, python: str) -> str:
    """Return the text of the script; `problems` has found nothing wrong."""
    lines = [
        "#!/bin/bash",
        f"# Run {request.run_id} of launch. Its folder is one that this machine and the nodes",
        "# share; submitted again (sbatch of this file) the run goes on from its last checkpoint.",
        *(_ASK + option for option in options(request, settings)),
        "",
        *settings.setup,
        "# The launcher has the place of this shell: Slurm sends SIGTERM to it alone when the job",
        "# is near its end, and to everything when it ends it.",
        f"exec {shlex.join([python, '-m', 'launcher', 'submit', 'inside', request.run_dir])}",
    ]
    return "\n".join(lines) + "\n"


def options(request: Request, settings: Settings) -> Iterator[str]:
    """Yield what is asked of Slurm."""
    spec = request.spec
    grace_s = math.ceil(spec.timeouts.grace_s) + _SPARE_S
    yield f"--job-name={request.run_id}"
    yield f"--comment={COMMENT}{request.run_id}"
    yield _quoted("--chdir", request.job.cwd)
    yield _quoted("--output", f"{request.run_dir}/slurm-%j.out")
    yield "--open-mode=append"
    for name in ("time", "partition", "account", "nodes"):
        if (value := getattr(settings, name)) is not None:
            yield _quoted(f"--{name}", str(value))
    yield f"--ntasks={len(spec.tasks)}"
    yield from _resources(spec, settings)
    yield f"--signal=B:TERM@{grace_s}"
    yield "--requeue" if settings.requeue else "--no-requeue"
    yield from settings.options


def options_of(text: str) -> list[str]:
    """Return what a script asks of Slurm."""
    lines = text.splitlines()
    return [line.removeprefix(_ASK) for line in lines if line.startswith(_ASK)]


def _resources(spec: ClusterSpec, settings: Settings) -> Iterator[str]:
    cpus = max((math.ceil(task.cpus or spec.cpus or 0) for task in spec.tasks), default=0)
    if cpus:
        yield f"--cpus-per-task={cpus}"
    if memory := _memory_bytes(spec):
        yield f"--mem-per-cpu={math.ceil(memory / (cpus or 1) / _MIB)}M"
    wanted = {task.gpus for task in spec.tasks}
    if wanted == {0}:
        return
    if len(wanted) == 1:
        yield f"--gpus-per-task={wanted.pop()}"
    elif settings.nodes:
        yield f"--gpus-per-node={gpus_a_node(spec.tasks, settings.nodes)}"
    else:
        yield f"--gpus={sum(task.gpus for task in spec.tasks)}"


def _memory_bytes(spec: ClusterSpec) -> int:
    from launcher.size import size_bytes

    given = (task.memory or spec.memory for task in spec.tasks)
    return max((size_bytes(text) for text in given if text), default=0)


def gpus_a_node(tasks: tuple[Task, ...], nodes: int) -> int:
    """Return how many GPUs each node needs for the tasks to find room there."""
    taken = [0] * nodes
    for gpus in sorted((task.gpus for task in tasks), reverse=True):
        taken[taken.index(min(taken))] += gpus
    return max(taken)


def _quoted(option: str, value: str) -> str:
    return f"{option}={value}" if shlex.quote(value) == value else f'{option}="{value}"'


# what is wrong


def problems(request: Request, settings: Settings) -> Iterator[Problem]:
    """Yield all that Slurm could not be asked for."""
    spec, at = request.spec, request.spec.source.where
    for option in settings.options:
        if what := sbatch_options.problem(option):
            yield Problem(at("platforms.slurm.options"), what)
    for line in "\n".join(settings.setup).splitlines():
        if line.startswith(("#SBATCH", "#PBS")):
            what = "for an option; expected it in platforms.slurm.options"
            yield Problem(at("platforms.slurm.setup"), f"sbatch would take {line!r} {what}")
    for name in ("time", "partition", "account"):
        if (value := getattr(settings, name)) is not None and not is_word(value):
            yield Problem(at(f"platforms.slurm.{name}"), f"expected one word, got {value!r}")
    for path in (request.job.cwd, request.run_dir):
        if not path.isprintable() or {'"', "%", "\\"} & set(path):
            yield Problem(path, "Slurm's options take no such path; expected one without \" % \\")
    for argument in (*request.job.args, *(word for task in spec.tasks for word in task.args)):
        if not _is_utf8(argument):
            what = f"argument {argument!r}: the job could not be told of it; expected UTF-8"
            yield Problem(request.job.name, what)
    sizes = {task.gpus for task in spec.tasks}
    if len(sizes) > 1 and max(sizes) > 1 and not settings.nodes:
        what = "tasks with different numbers of GPUs need it: expected the number of nodes"
        yield Problem(at("platforms.slurm.nodes"), what)
    if spec.secrets:
        what = "Slurm has no place for them; expected a file in a folder that the nodes share"
        yield Problem(at("secrets"), what)
    yield from _image_problems(request, settings)


def _image_problems(request: Request, settings: Settings) -> Iterator[Problem]:
    spec, at = request.spec, request.spec.source.where
    image = settings.image or spec.image
    if image and not settings.container:
        among = ", ".join(Runtime)
        what = f"what runs {image}? expected one of {among}, or backend: process without an image"
        yield Problem(at("platforms.slurm.container"), what)
    if settings.container and not image:
        what = f"{settings.container} needs the key 'image'"
        yield Problem(at("platforms.slurm.container"), what)
    if spec.backend is Backend.DOCKER and not spec.image:
        yield Problem(at("backend"), "docker needs the key 'image'")
    if request.code_in_image and settings.image:
        what = "is another image than the one that is made; expected no such key"
        yield Problem(at("platforms.slurm.image"), what)
    if request.code_in_image and CONTAINER_WORK_DIR in _seen(request):
        what = f"would hide {CONTAINER_WORK_DIR} of the image, which has the code"
        yield Problem(CONTAINER_WORK_DIR, f"{what}; expected another folder")
    mounted = (path for volume in spec.volumes for path in (volume.path, volume.at))
    for path in mounted if settings.container else ():
        if {":", ","} & set(path):
            yield Problem(at("volumes"), f"{path}: {settings.container} takes no `:` or `,`")


def _seen(request: Request) -> Iterator[str | None]:
    """Yield where a container would see folders of the nodes."""
    spec = request.spec
    yield from (request.job.cwd, spec.checkpoints, *(volume.at for volume in spec.volumes))
    if spec.data:
        yield spec.data.path or spec.data.sync


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
