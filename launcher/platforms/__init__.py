"""Engines that take a job and run it themselves: what each must be able to do, and how it is found.

A platform is a class. It is named by an entry point of the group `launch.platforms`, or is one of
those that come with the launcher. `launch submit` and its verbs know nothing of any of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from launcher.cluster import ClusterSpec
from launcher.errors import InputError, Problem, nearest
from launcher.layout import Job
from launcher.option import Option

GROUP = "launch.platforms"  #: of entry points
_BUILT_IN = {
    "kubernetes": "launcher.platforms.kubernetes:Kubernetes",
    "slurm": "launcher.platforms.slurm:Slurm",
    "uai": "launcher.platforms.uai:UaiTrain",
}


class State(StrEnum):
    """Where a job stands, in the same words on every platform."""

    PENDING = "pending"  #: taken, and not begun: it waits for its turn or for machines
    STARTING = "starting"  #: its machines are being made ready
    RUNNING = "running"
    STOPPING = "stopping"  #: asked to end, and not ended
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"  #: ended because somebody asked for it
    DELETED = "deleted"
    UNKNOWN = "unknown"  #: the platform says something that this launcher does not know

    @property
    def is_final(self) -> bool:
        """Whether it stays so."""
        return self in _FINAL


_FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.DELETED})


class Submitted(NamedTuple):
    """A job as its platform tells of it.

    id: by which the platform knows it.
    name: the run's.
    said: the platform's own word for the state.
    since: when it was submitted, in seconds since the epoch; None where nobody tells.
    details: what else it tells, by what each is called.
    """

    id: str
    name: str
    state: State
    said: str = ""
    since: float | None = None
    details: Mapping[str, str] = {}


class Line(NamedTuple):
    """One line that a job printed; `source` is who, as far as the platform tells (worker:0)."""

    source: str
    text: str


class Request(NamedTuple):
    """What is to be run elsewhere.

    job: the trainer; its script lies on this machine.
    run_dir: where what belongs to the run is kept, absolute; nothing is there yet.
    code_in_image: whether the image has the job's script, and what belongs to it, at /data.
    """

    spec: ClusterSpec
    job: Job
    run_id: str
    run_dir: str
    code_in_image: bool = False


class Prepared(Protocol):
    """All that would be sent, as a value: what is shown is what is sent."""

    def text(self) -> str:
        """Return it as a person reads it, secrets masked."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, secrets masked."""


class Platform(Protocol):
    """One engine, for one user.

    Settings: a NamedTuple of what `platforms.NAME` of cluster.yaml may say; its hints decide what
        is accepted, its docstring's `key: text` lines are what users read (see
        launcher.cluster_file). Every key has a default. One named `image` stands in the place of
        the file's.

    options: what `launch submit --platform NAME` takes beside its own options; each one's value,
        or true for a switch, becomes the key of its name in the settings. One named `apply` says
        that a submission is sent at all.

    Every method but `prepare` may raise HostError: the platform refuses, or cannot be reached. One
    that names a job raises InputError where there is no such job.
    """

    Settings: ClassVar[type[Any]]
    options: ClassVar[tuple[Option, ...]] = ()

    def __init__(self, settings: Any, environ: Mapping[str, str]) -> None: ...

    def prepare(self, request: Request) -> Any:
        """Return what would be sent (a Prepared), nothing being changed anywhere.

        The platform may be asked for what it has.

        Raises:
            InputError: with all that it cannot express, or that is missing.
            HostError: it does not tell what it has.
        """

    def submit(self, prepared: Any) -> Submitted | None:
        """Send what was prepared; once only, whatever is tried again.

        None where it is the user who sends it: it is then shown.
        """

    def jobs(self) -> Sequence[Submitted]:
        """Return the jobs that it knows, the oldest first."""

    def job(self, job_id: str) -> Submitted:
        """Return how a job stands."""

    def logs(self, job_id: str, *, follow: bool) -> Iterator[Line]:
        """Yield each line once, in order; with `follow` until the job has ended."""

    def stop(self, job_id: str) -> None:
        """Have a job end; one that has ended is no error."""

    def delete(self, job_id: str) -> None:
        """Remove what the platform keeps of a job; one that runs is refused."""


def find(name: str) -> type[Platform]:
    """Return the platform of a name.

    Raises:
        InputError: there is none, or it cannot be imported.
    """
    reference = _BUILT_IN.get(name)
    if reference is None:
        reference = _installed().get(name)
    if reference is None:
        known = sorted({*_BUILT_IN, *_installed()})
        what = f"no such platform{nearest(name, known)} (expected one of {', '.join(known)})"
        raise InputError(Problem(f"--platform {name}", what))
    module, _, attribute = reference.partition(":")
    try:
        return cast("type[Platform]", getattr(import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise InputError(Problem(f"--platform {name}", f"cannot be loaded: {error}")) from None


def options_of(name: str) -> tuple[Option, ...]:
    """Return the options of a platform's own. Raises InputError as `find` does."""
    return tuple(getattr(find(name), "options", ()))


def _installed() -> dict[str, str]:
    """Return the platforms of other packages, by name."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=GROUP)}
