"""The texts by which a task's log, or its backend, tells what went wrong.

They are those of TensorFlow 2.21, Keras 3, NCCL, Python 3.11 to 3.13, Docker and this project's
own training loop, and those of PyTorch and JAX for memory; `tests/test_diagnosis.py` holds real
samples of them. A text whose cause depends on the exit code is not here but in
`launcher.diagnosis`.
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
    def may_follow(self) -> bool:
        """Whether another task's end may be behind it, one that is yet to be seen among them."""
        return self in (Cause.PEER_LOST, Cause.TRANSPORT)

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

ANYWHERE = 3  # counts wherever in the log it stands
LAST_ERROR = 2  # counts from the last traceback on: what an earlier one told was survived
BETWEEN_TASKS = 1
FROM_A_PEER = 0


class Sign(NamedTuple):
    """A text that tells a cause.

    pattern: a regular expression, looked for in each line; its group, where there is one, holds
        what people should be told beside the words.
    words: the cause for people.
    weight: of signs that are found together, those of the greatest weight count; among them the
        one that stands last, then the one that is listed first.
    """

    cause: Cause
    pattern: str
    words: str = ""
    weight: int = LAST_ERROR


OF_REASONS = (
    Sign(Cause.OUT_OF_MEMORY, r"lack of memory"),
    Sign(Cause.STALLED, r"(?i)\b(?:stalled|no progress|no step)\b"),
    Sign(Cause.DISK_FULL, r"(?i)no space left on device|disk quota exceeded"),
    Sign(Cause.IMAGE_MISSING, r"(?i)no such image|could not be pulled|cannot be pulled"),
    Sign(Cause.NOT_FOUND, r"executable file not found|exec format error|no such program"),
    Sign(Cause.NOT_FOUND, r"could not be started: \[Errno (?:2|8|13)\]"),
    Sign(Cause.PORT_TAKEN, r"(?i)address already in use|port is already allocated"),
    Sign(
        Cause.HOST_UNREACHABLE,
        r"(?i)unreachable|cannot be reached|did(?: not|n't) answer|does not answer"
        r"|connection (?:to \S+ )?(?:was |is )?(?:lost|cut)|Docker was stopped|no route to host"
        r"|logs are not followed any more|there is no /\S*docker\.sock",
    ),
)

OF_LOGS = (
    Sign(
        Cause.PER_REPLICA,
        r"unsupported type \(<class '[\w.]*PerReplica'>|^\w*Error: .*\bPerReplica\b",
        "Keras 3's fit, optimizers or metrics under a tf.distribute strategy",
        ANYWHERE,
    ),
    Sign(
        Cause.CUDA_OUT_OF_MEMORY,
        r"CUDA_ERROR_OUT_OF_MEMORY|OOM when allocating .*\bdevice:GPU:\d"
        r"|Allocator \(GPU_\d+_bfc\) ran out of memory(?!.*not a failure)"
        r"(?: (trying to allocate [\d.]+\w+))?"
        r"|CU\w+_STATUS_ALLOC_FAILED",
        "out of memory on the GPU",
        ANYWHERE,
    ),
    Sign(
        Cause.CUDA_OUT_OF_MEMORY,
        r"\bCUDA out of memory\. (Tried to allocate [\d.]+ \w+)|Error: CUDA error: out of memory"
        r"|\btorch\.(?:cuda\.)?OutOfMemoryError: (?!CUDA)"
        r"|RESOURCE_EXHAUSTED: Out of memory while (trying to allocate [\d.]+ ?\w+)",
        "out of memory on the GPU",
    ),
    Sign(
        Cause.DISK_FULL,
        r"No space left on device|Disk quota exceeded|\berrno = (?:28|122)\b"
        r"|^OSError: Not enough free space",
        "no space left on the disk",
        ANYWHERE,
    ),
    Sign(
        Cause.OUT_OF_MEMORY,
        r"OOM when allocating|^MemoryError\b|\bstd::bad_alloc\b|\b_ArrayMemoryError\b"
        r"|Cannot allocate memory|RESOURCE_EXHAUSTED: Out of memory allocating",
        "out of memory",
    ),
    Sign(
        Cause.PORT_TAKEN,
        r"Could not start gRPC server|Address already in use",
        "its port is taken",
    ),
    Sign(
        Cause.IMPORT_ERROR,
        r"^(?:ModuleNotFoundError|ImportError): (.*)",
        "a Python module cannot be imported",
    ),
    Sign(
        Cause.NOT_FOUND,
        r"(can't open file '.*'): \[Errno 2\]",
        "what it should run is not there",
    ),
    Sign(
        Cause.MISSING_DATA,
        r"^FileNotFoundError: .*directory: (.*)|NotFoundError: (?:\{\{.*\}\} )?(.*); No such file"
        r"|^error: (.*: no MNIST data)",
        "a file is missing",
    ),
    Sign(
        Cause.CONFIGURATION,
        r"^FATAL Flags parsing error: (.*)|^ValueError: (There must be .* (?:job|ps|worker)\.)"
        r"|^ValueError: (The `task_id` \d+ exceeds .*)|^ValueError: (Disallowed task type .*)"
        r"|^ValueError: (`task_type` .* not found in cluster_spec\.)"
        r"|^KeyError: .*(\bTF_CONFIG\b.*)",
        "what it was given is wrong",
    ),
    Sign(
        Cause.PEER_LOST,
        r"remote process exited or there was a network error|ncclRemoteError",
        "lost its peer",
        BETWEEN_TASKS,
    ),
    Sign(
        Cause.TRANSPORT,
        r"\bnccl(?:System|UnhandledCuda|Internal|InvalidUsage)Error\b"
        r"|\bNCCL: (.*)\. Set NCCL_DEBUG=WARN|\bNCCL operation (.* failed: .*)"
        r"|unhandled (?:system|cuda) error",
        "the transport between the tasks failed (NCCL)",
        BETWEEN_TASKS,
    ),
    Sign(
        Cause.PEER_LOST,
        r"another task of the cluster was lost|Collective ops is aborted by|\bUnavailableError:"
        r"|\bAbortedError:|stopped sending heartbeats|Connection reset by peer"
        r"|^error: the chief at \S+ has been unreachable",
        "lost its peer",
        FROM_A_PEER,
    ),
    Sign(
        Cause.PEER_LOST,
        r"^error: (the cluster did not form in .*|no chief came .*)",
        "its peers did not come",
        FROM_A_PEER,
    ),
)

REMEDIES = {
    Cause.PER_REPLICA: (
        "Keras 3's own fit, optimizers and metrics do not work under tf.distribute strategies "
        "(keras#20585). Train with launcher.training (docs/training.md), or with Keras 2: "
        "pip install tf-keras, and `env: {TF_USE_LEGACY_KERAS: 1}` in cluster.yaml"
    ),
    Cause.OUT_OF_MEMORY: (
        "put fewer tasks on that host, raise `memory:` where it is set, or take a smaller batch"
    ),
    Cause.CUDA_OUT_OF_MEMORY: (
        "take a smaller batch; `nvidia-smi` on that host shows what else uses the GPU"
    ),
    Cause.DISK_FULL: "make space on that host (`docker system df`, `df -h`), then start again",
    Cause.PORT_TAKEN: "leave ports out of cluster.yaml, then free ones are found on every host",
    Cause.IMPORT_ERROR: "install it where the task runs: in its image, or beside `python:`",
    Cause.TRANSPORT: (
        "set `env: {NCCL_DEBUG: WARN}` to have NCCL say more, and `nccl_interface` where hosts "
        "have several networks"
    ),
}
