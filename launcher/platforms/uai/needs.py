"""What a run needs of the platform: cluster.yaml and the trainer as N nodes of G GPUs.

There every node runs the same image and command: a trainer (the first node's is the chief) and,
on several nodes, a ps beside it that computes on the CPU. What a cluster asks beyond that cannot
be expressed, and is a problem. What it says of its own hosts alone does not matter there.
"""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from launcher.cluster import Backend, ClusterSpec, Task
from launcher.container import is_secret
from launcher.errors import InputError, Problem
from launcher.layout import Job, Layout
from launcher.platforms import Request
from launcher.platforms.uai.calls import check_endpoint
from launcher.platforms.uai.settings import Settings
from launcher.strategy import Strategy
from launcher.task import TaskType

DATA_AT, OUTPUT_AT = "/data/data", "/data/output"
GIVEN = ("work_dir", "data_dir", "output_dir", "num_gpus")  # arguments that the platform adds
_WRITTEN_TO = ("model_dir", "log_dir", "checkpoint_dir", "save_dir", "export_dir")

# The forms of https://docs.ucloud.cn/uai-train/basic/ufs and …/ufile.
_UFS = re.compile(r"(\d{1,3}\.){3}\d{1,3}:/ufs-[0-9A-Za-z]+/[\w./-]*")
_UFILE = re.compile(r"https?://[\w-]+(\.[\w-]+)*\.(ufile\.ucloud\.com\.cn|ufileos\.com)/[\w./-]+/")


class Needs(NamedTuple):
    """What is to run there, as far as this machine knows it.

    gpus: of each node.
    image: as the file says it.
    command: what follows the platform's own `/usr/bin/python`.
    notes: what the user should know.
    """

    nodes: int
    gpus: int
    image: str
    command: str
    hours: int
    notes: tuple[str, ...] = ()


def of(request: Request, settings: Settings) -> Needs:
    """Return what a run needs.

    Raises:
        InputError: with all that the platform cannot do for it.
    """
    spec = request.spec
    problems = [
        *_shape(spec),
        *_storage(spec, settings),
        *_image(spec),
        *_arguments(spec, request.job),
        *_environment(spec, settings),
        *check_endpoint(settings.endpoint, spec.source.where("platforms.uai.endpoint")),
    ]
    hours = _hours(spec, settings)
    if hours is None:
        what = "how long may it run there? expected platforms.uai.max_hours (or timeouts.run_s)"
        problems.append(Problem(spec.source.where("platforms.uai"), what))
    if problems or hours is None:
        raise InputError(problems)
    trainers = _trainers(spec)
    command = _command(request, settings)
    return Needs(
        len(trainers), trainers[0].gpus, spec.image or "", command, hours, tuple(_notes(request))
    )


def backend(path: str) -> str:
    """Return which of its stores the platform finds a path in; empty for none of them."""
    if _UFS.fullmatch(path) and ".." not in path:
        return "UFS"
    return "UFile" if _UFILE.fullmatch(path) and ".." not in path else ""


def _trainers(spec: ClusterSpec) -> tuple[Task, ...]:
    return tuple(t for t in spec.tasks if t.id.type in (TaskType.CHIEF, TaskType.WORKER))


def _shape(spec: ClusterSpec) -> Iterator[Problem]:
    """Yield what N equal nodes with a trainer and a ps each cannot be."""
    where = spec.source.where
    trainers = _trainers(spec)
    counts = sorted({task.gpus for task in trainers})
    if len(counts) > 1:
        got = " and ".join(map(str, counts))
        what = f"all nodes are alike there: expected chief and workers with as many GPUs, got {got}"
        yield Problem(where("tasks"), what)
    ps = [task for task in spec.tasks if task.id.type is TaskType.PS]
    if ps and len(ps) != len(trainers):
        what = f"every node has one ps there: expected {len(trainers)} (chief and workers)"
        yield Problem(where("tasks.ps"), f"{what}, got {len(ps)}")
    if any(task.gpus for task in ps):
        yield Problem(where("tasks.ps.gpus"), "a ps has no GPU there; expected 0")
    for task in spec.tasks:
        at = f"tasks.{task.id.type.value}"
        if task.id.type is TaskType.EVALUATOR:
            what = "there are no evaluators there; the chief evaluates at the end of each epoch"
            yield Problem(where(at), what)
        elif task.id.index == 0:
            for key, given in (("env", task.env), ("args", task.args)):
                if given:
                    yield Problem(
                        where(f"{at}.{key}"),
                        f"all nodes run one command there; expected `{key}` of no task alone",
                    )
    for key in ("volumes", "secrets"):
        if getattr(spec, key):
            yield Problem(where(key), "nodes see nothing there but data and output; expected none")


def _storage(spec: ClusterSpec, settings: Settings) -> Iterator[Problem]:
    """Yield what would be lost there with the node, or not be found."""
    several = len(_trainers(spec)) > 1
    expected = "IP:/ufs-ID/PATH/ (UFS)"
    if not several:
        expected += " or https://BUCKET.….ufileos.com/PREFIX/ (UFile)"
    for key in ("data", "output"):
        path: str = getattr(settings, key)
        at = spec.source.where(f"platforms.uai.{key}")
        lasts = "it does not outlive its node there; " if path else ""
        if not backend(path):
            yield Problem(at, f"{lasts}expected {expected}, got {path!r}")
        elif several and backend(path) != "UFS":
            yield Problem(at, f"jobs of several nodes share UFS alone; expected {expected}")
    if spec.data and spec.data.at.rstrip("/") != DATA_AT:
        what = f"data is at {DATA_AT} there; expected that, got {spec.data.at!r}"
        yield Problem(spec.source.where("data.at"), what)


def _image(spec: ClusterSpec) -> Iterator[Problem]:
    where = spec.source.where("image")
    if not spec.image:
        yield Problem(where, "expected an image that the platform can pull")
        return
    registry, slash, _ = spec.image.partition("/")
    if not slash or not ({".", ":"} & set(registry)):
        what = "names no registry that the platform pulls from"
        yield Problem(where, f"{what}; expected uhub.service.ucloud.cn/GROUP/NAME…")
    if not spec.image.isprintable() or " " in spec.image:
        yield Problem(where, f"expected the name of an image, got {spec.image!r}")


def _arguments(spec: ClusterSpec, job: Job) -> Iterator[Problem]:
    """Yield arguments that do not mean there what they mean here."""
    for index, word in enumerate(job.args):
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            continue
        if name in GIVEN:
            yield Problem(f"--{name}", "the platform gives this argument itself; expected none")
        if name in _WRITTEN_TO:
            value = value if equals else "".join(job.args[index + 1 : index + 2])
            if value.startswith("/") and not f"{value}/".startswith(f"{OUTPUT_AT}/"):
                what = f"is lost there with its node; expected a folder below {OUTPUT_AT}"
                yield Problem(f"--{name}", f"{value} {what}")
    if any("\0" in word or "\n" in word for word in job.args):
        yield Problem("", "a line break in an argument cannot be sent there")


def _environment(spec: ClusterSpec, settings: Settings) -> Iterator[Problem]:
    """Yield variables that the command line cannot carry there."""
    if spec.env and not settings.exec:
        what = "no variables can be set there but through `launch exec`; expected none"
        yield Problem(spec.source.where("env"), what)
    for key in spec.env:
        if is_secret(key):
            what = "would be part of the command, which the platform shows"
            yield Problem(spec.source.where(f"env.{key}"), what)


def _hours(spec: ClusterSpec, settings: Settings) -> int | None:
    if settings.max_hours is not None:
        return settings.max_hours
    seconds = spec.timeouts.run_s
    return None if not seconds else int(-(-seconds // 3600))


def _command(request: Request, settings: Settings) -> str:
    """Return what the platform puts behind its interpreter, as its shell reads it."""
    spec, job = request.spec, request.job
    in_containers = spec._replace(backend=Backend.DOCKER)
    layout = Layout.of(in_containers, job, request.run_id, request.run_dir, "python")
    python, *script = layout.command or ("", "")
    if not settings.exec:
        words = ["-u", *script, *job.args] if python else _without_python(job)
    else:
        env = [f"--env={key}={value}" for key, value in spec.env.items()]
        several = len(_trainers(spec)) > 1
        strategy = [f"--strategy={spec.strategy}"] if several else ["--alone"]
        own = [python, "-u", *script] if python else []
        words = ["-m", "launcher", "exec", *strategy, *env, "--", *own, *job.args]
    return shlex.join(words)


def _without_python(job: Job) -> list[str]:
    """Return a command without its interpreter, which the platform gives."""
    first, *rest = job.args
    if not re.fullmatch(r"(\S*/)?python[\d.]*", first) or not rest:
        what = "the platform runs Python alone (with exec: false); expected -- python SCRIPT …"
        raise InputError(Problem(first, what))
    return rest


def _notes(request: Request) -> Iterator[str]:
    spec, job = request.spec, request.job
    if job.script and not request.code_in_image:
        layout = Layout.of(spec._replace(backend=Backend.DOCKER), job, "", "", "python")
        yield f"the image must hold {layout.command[1]}: nothing is copied into it there"
    if spec.strategy is Strategy.MULTI_WORKER_MIRRORED and len(_trainers(spec)) > 1:
        yield "a ps is started on every node all the same; it ends at once, not needed"
    if spec.checkpoints:
        yield "checkpoints go to output: the file's `checkpoints` is a folder of its own hosts"
    if spec.memory or spec.cpus or any(task.memory or task.cpus for task in spec.tasks):
        yield "memory and cpus are those of the nodes there"
    if spec.data:
        yield "data comes from platforms.uai.data: the file's `data` is of its own hosts"
