"""What cluster.yaml may say of a Slurm cluster, and what is kept with a run for its job there."""

import json
import math
from collections.abc import Mapping
from enum import Enum, StrEnum
from pathlib import Path
from signal import SIGUSR1
from typing import Annotated, Any, NamedTuple

import yaml

from launcher.cluster import ClusterSpec, Range, Scalar, Source
from launcher.decode import Decoder
from launcher.errors import InputError, Problem
from launcher.hints import is_struct
from launcher.layout import Job
from launcher.nodes import compose

KEPT = "request.json"  #: in a run's folder: a Kept
SUBMITTED = "slurm.json"  #: there too: the job's number
STOP_SIGNAL = SIGUSR1  #: to the job's script: somebody asks for the end
STOP_ASKED = "stop-asked"  #: there from when somebody asks for the end until the next part begins


class Runtime(StrEnum):
    """What runs containers on the nodes."""

    APPTAINER = "apptainer"
    SINGULARITY = "singularity"
    PYXIS = "pyxis"  #: srun's own options, by the plugin pyxis with enroot


class Settings(NamedTuple):
    """A Slurm cluster. Every key may be left out.

    time: The job's time limit, as Slurm writes it (`"01:00:00"`, minutes). A job that comes near
        it saves its state and is queued again.
    partition: The partition.
    account: The account that is charged.
    nodes: On how many nodes; else Slurm decides.
    options: Further `#SBATCH` options, such as `--exclusive`.
    setup: Lines of shell that come before the launcher in the script, such as `module load cuda`.
    python: The interpreter on the nodes that has the launcher; default: the submitting one.
    container: What runs the file's image: `apptainer`, `singularity` or `pyxis`. Without it tasks
        are processes.
    image: The image as it is called there, where it differs from the file's: a .sif or .sqsh file.
    requeue: Whether a job that was preempted, or is near its time limit, goes on later.
    """

    time: Scalar | None = None
    partition: str | None = None
    account: str | None = None
    nodes: Annotated[int, Range(1)] | None = None
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str | None = None
    container: Runtime | None = None
    image: str | None = None
    requeue: bool = True


class Kept(NamedTuple):
    """What a run's folder tells its job.

    image: what `container` runs; None for processes.
    code_in_image: whether it has the job's script: the nodes need not.
    """

    run: str
    job: Job
    spec: ClusterSpec
    container: Runtime | None = None
    image: str | None = None
    requeue: bool = True
    code_in_image: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, with what the environment of tasks keeps secret."""
        spec = self.spec._replace(hosts={}, source=Source(self.spec.source.path))
        plain = _plain(self._replace(spec=spec))
        assert isinstance(plain, dict)
        return plain


def read_kept(run_dir: str) -> Kept:
    """Return what a run's folder tells its job.

    Raises:
        InputError: it is no run that was submitted.
    """
    path = Path(run_dir, KEPT)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        what = f"cannot be read: {error.strerror}; expected the folder of a submitted run"
        raise InputError(Problem(str(path), what)) from None
    try:
        # What JSON and YAML write differently (1e-05, U+0085) comes back as it was.
        text = yaml.safe_dump(json.loads(text), width=math.inf)
    except ValueError as error:
        raise InputError(Problem(str(path), f"not JSON: {error}")) from None
    decoder = Decoder(str(path))
    document = compose(text, str(path), decoder.problems)
    found = decoder.decode(document.root, Kept) if document and document.root else None
    if decoder.problems or found is None:
        raise InputError(decoder.problems)
    return found


def job_of(run_dir: Path) -> str | None:
    """Return the number of the job that a run was submitted as, None where it was not."""
    try:
        return str(json.loads((run_dir / SUBMITTED).read_text())["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_job(run_dir: Path, job_id: str) -> None:
    """Keep in a run's folder as which job it was submitted. Raises OSError."""
    if job_of(run_dir) != job_id:  # when it was written is when the job was submitted
        (run_dir / SUBMITTED).write_text(json.dumps({"job": job_id}) + "\n")


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if is_struct(type(value)):
        return {key: _plain(part) for key, part in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.value if isinstance(value, Enum) else value
