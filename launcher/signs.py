"""The texts by which a task's log, or its backend, tells what went wrong.

They are those of TensorFlow 2.21, Keras 3, NCCL, Python 3.11 to 3.13, Docker and this project's
own training loop; tests hold real samples of them.
"""

from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """Why a task ended."""

    OUT_OF_MEMORY = "out of memory"  #: the host's or the container's
    CUDA_OUT_OF_MEMORY = "cuda out of memory"  #: a GPU's
    SIGNAL = "signal"  #: killed by one, nobody says why
    IMPORT_ERROR = "import error"  #: a Python module is missing or cannot be loaded
    CONFIGURATION = "configuration"  #: flags, TF_CONFIG, settings
    MISSING_DATA = "missing data"  #: a file that it reads is not there
    PORT_TAKEN = "port taken"  #: somebody else listens where it has to
    TRANSPORT = "transport"  #: NCCL, gloo or grpc between tasks; often a consequence
    PEER_LOST = "peer lost"  #: another task ended or cannot be reached: a consequence
    PER_REPLICA = "per replica"  #: Keras 3 under a strategy (keras#20585)
    DISK_FULL = "disk full"
    HOST_UNREACHABLE = "host unreachable"
    IMAGE_MISSING = "image missing"
    ENDED_EARLY = "ended too early"  #: with 0, while others still needed it
    STALLED = "stalled"  #: no progress for too long: the launcher ended it
    NOT_FOUND = "not found"  #: the program to run is missing
    UNKNOWN = "unknown"

    @property
    def is_consequence(self) -> bool:
        """Whether another task's end is behind it, always (see `diagnosis.first_cause`)."""
        return self is Cause.PEER_LOST

    @property
    def is_curable(self) -> bool:
        """Whether starting the same thing again may help at all."""
        return self not in _INCURABLE


_INCURABLE = frozenset(
    {
        Cause.IMPORT_ERROR,
        Cause.CONFIGURATION,
        Cause.MISSING_DATA,
        Cause.PER_REPLICA,
        Cause.NOT_FOUND,
        Cause.IMAGE_MISSING,
    }
)


class Sign(NamedTuple):
    """A text that tells a cause.

    pattern: a regular expression, looked for in each line.
    words: the cause for people.
    weight: of signs that are found together, those of the greatest weight count; among them the
        one that stands last.
    """

    cause: Cause
    pattern: str
    words: str = ""
    weight: int = 2


_ERRNO = r"\[Errno {}\]"

OF_REASONS = (
    Sign(Cause.OUT_OF_MEMORY, r"lack of memory"),
    Sign(Cause.STALLED, r"\b(stalled|no progress|no step)\b"),
    Sign(Cause.DISK_FULL, r"(?i)no space left on device"),
    Sign(Cause.IMAGE_MISSING, r"(?i)no such image|manifest unknown|cannot be pulled"),
    Sign(Cause.NOT_FOUND, r"executable file not found|exec format error|no such program"),
    Sign(Cause.NOT_FOUND, r"could not be started: \[Errno (2|8|13)\]"),
    Sign(Cause.PORT_TAKEN, r"(?i)address already in use|port is already allocated"),
    Sign(
        Cause.HOST_UNREACHABLE,
        r"(?i)unreachable|cannot be reached|did(?: not|n't) answer|does not answer"
        r"|connection (?:was |is )?(?:lost|cut)|Docker was stopped|no route to host",
    ),
)

OF_LOGS = (
    Sign(
        Cause.PER_REPLICA,
        r"PerReplica",
        "Keras 3's fit or metrics under a tf.distribute strategy (keras#20585)",
        3,
    ),
    Sign(
        Cause.CUDA_OUT_OF_MEMORY,
        r"CUDA_ERROR_OUT_OF_MEMORY|OOM when allocating .*\bGPU:\d|allocator GPU_\d+_bfc ran out"
        r"|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED|CUDA out of memory",
        "out of memory on the GPU",
        3,
    ),
    Sign(
        Cause.OUT_OF_MEMORY,
        r"OOM when allocating|^MemoryError\b|\bstd::bad_alloc\b|_ArrayMemoryError"
        r"|\[Errno 12\]|Cannot allocate memory",
        "out of memory",
    ),
    Sign(
        Cause.DISK_FULL,
        r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]",
        "no space left on a disk",
        3,
    ),
    Sign(
        Cause.PORT_TAKEN,
        r"Could not start gRPC server|[Aa]ddress already in use|\[Errno 98\]",
        "its port is taken",
    ),
    Sign(
        Cause.IMPORT_ERROR,
        r"^(?:ModuleNotFoundError|ImportError): ",
        "a Python module cannot be imported",
    ),
    Sign(
        Cause.NOT_FOUND,
        r"can't open file '.*': \[Errno 2\]|: (?:command )?not found$|executable file not found",
        "what it should run is not there",
    ),
    Sign(
        Cause.MISSING_DATA,
        r"^FileNotFoundError: |NotFoundError.*No such file or directory",
        "a file is missing",
    ),
    Sign(
        Cause.CONFIGURATION,
        r"^\S+: error: |^FATAL Flags parsing error|UnrecognizedFlagError|IllegalFlagValueError",
        "its arguments are wrong",
    ),
    Sign(
        Cause.TRANSPORT,
        r"\bnccl(?:System|UnhandledCuda|Internal|InvalidUsage)Error\b"
        r"|unhandled (?:system|cuda) error|NCCL operation .* failed|\bNCCL WARN\b",
        "the transport between tasks failed (NCCL)",
        1,
    ),
    Sign(
        Cause.PEER_LOST,
        r"another task of the cluster was lost|Collective ops is aborted|ncclRemoteError"
        r"|UnavailableError|Connection reset by peer|heartbeat timeout",
        "lost its peer",
        0,
    ),
)

REMEDIES = {
    Cause.PER_REPLICA: (
        "Keras 3's own fit, optimizers and metrics do not work under tf.distribute strategies "
        "(keras#20585). Train with launcher.training (docs/training.md), or with Keras 2: "
        "pip install tf-keras, and `env: {TF_USE_LEGACY_KERAS: 1}` in cluster.yaml"
    ),
}
