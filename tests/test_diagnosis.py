"""What known failures are told to mean.

The lines are real ones, shortened, unless a name says where they are from.
"""

from itertools import permutations

import pytest

from launcher.diagnosis import Cause, Diagnosis, Ended, diagnose, first_cause
from launcher.signs import REMEDIES
from launcher.task import CHIEF, TaskId

TRACEBACK = "Traceback (most recent call last):"
ERRORS = "tensorflow.python.framework.errors_impl."

PER_REPLICA = [
    TRACEBACK,
    "ValueError: Attempt to convert a value (PerReplica:{",
    "  0: <tf.Tensor: shape=(32, 4), dtype=float32, numpy=",
    "array([[0., 0., 0., 0.],",
    "}) with an unsupported type (<class 'tensorflow.python.distribute.values.PerReplica'>) "
    "to a Tensor.",
]
SOCKET_CLOSED = [
    "W0000 00:00:1 1914 local_rendezvous.cc:412] Local rendezvous is aborting with status: "
    "UNAVAILABLE: Collective ops is aborted by: Socket closed",
    TRACEBACK,
    f"{ERRORS}UnavailableError: Graph execution error:",
    "Collective ops is aborted by: Socket closed",
    "Additional GRPC error information from remote target /job:worker/replica:0/task:1 while "
    "calling /tensorflow.WorkerService/RecvBuf:",
    ':UNKNOWN:Error received from peer  {grpc_message:"Socket closed", grpc_status:14}',
    "\t [[{{node CollectiveReduceV2}}]] [Op:__inference_step_33]",
]
FROZEN_PEER = [
    TRACEBACK,
    f"{ERRORS}UnavailableError: Graph execution error:",
    "Collective ops is aborted by: Error reported from /job:worker/task:1: The following tasks are "
    "unhealthy (stopped sending heartbeats):",
    "/job:worker/replica:0/task:1",
    "The tasks have crashed. Check the task logs for an earlier error, or scheduler events (e.g. "
    "preemption, eviction) to debug further.",
]
PORT = [TRACEBACK, f"{ERRORS}UnknownError: Could not start gRPC server"]
IMPORT = [TRACEBACK, "ModuleNotFoundError: No module named 'tensorflow_addons'"]
NO_FILE = [
    TRACEBACK,
    f"{ERRORS}NotFoundError: {{{{function_node __wrapped__IteratorGetNext_output_types_1_device_"
    "/job:localhost/replica:0/task:0/device:CPU:0}} /no/such/file.tfrecord; No such file or "
    "directory [Op:IteratorGetNext] name: ",
]
TENSOR_TOO_LARGE = [
    TRACEBACK,
    f"{ERRORS}ResourceExhaustedError: {{{{function_node __wrapped__Fill_device_/job:localhost/"
    "replica:0/task:0/device:CPU:0}} OOM when allocating tensor with shape[200000,200000,20] and "
    "type float on /job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu [Op:Fill]",
]
CHECKPOINT_DISK_FULL = [
    TRACEBACK,
    f"{ERRORS}ResourceExhaustedError: {{{{function_node __wrapped__SaveV2_dtypes_3_device_}}}} "
    "ckpt-1_temp/part-00000-of-00001.data; No space left on device [Op:SaveV2]",
]
H5_DISK_FULL = [
    TRACEBACK,
    "RuntimeError: Can't decrement id ref count (file write failed: time = Fri Nov 27 07:39:32",
    ", filename = 'small/m.weights.h5', file descriptor = 3, errno = 28, error message = "
    "'No space left on device', buf = 0x557823c62b80, total write size = 2048, offset = 4096)",
]
NUMPY_DISK_FULL = [TRACEBACK, "OSError: Not enough free space to write 20000000 bytes after 128"]
NUMPY_MEMORY = [
    TRACEBACK,
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 72.8 TiB for an array",
]
TWO_CHIEFS = [TRACEBACK, "ValueError: There must be at most one 'chief' job."]
NO_SUCH_INDEX = [TRACEBACK, "ValueError: The `task_id` 3 exceeds the maximum id of worker."]
ABSL = [
    "FATAL Flags parsing error: Unknown command line flag 'nope'",
    "Pass --helpshort or --helpfull to see help on flags.",
]
ARGPARSE = [
    "usage: argp.py [-h] [--n N]",
    "argp.py: error: argument --n: invalid int value: 'x'",
]
# Seen on an H200 (driver 580.159.04, PyTorch 2.11.0+cu130, JAX 0.11.2).
TORCH_GPU = [
    TRACEBACK,
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4096.00 GiB. GPU 0 has a total "
    "capacity of 139.80 GiB of which 139.29 GiB is free. Including non-PyTorch memory, this "
    "process has 518.00 MiB memory in use. Of the allocated memory 0 bytes is allocated by "
    "PyTorch, and 0 bytes is reserved by PyTorch but unallocated. If reserved but unallocated "
    "memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid "
    "fragmentation.",
]
JAX_GPU = [
    "W1127 13:39:10.510217    1323 bfc_allocator.cc:598] Allocator (GPU_0_bfc) ran out of memory "
    "trying to allocate 4.00TiB (rounded to 4398046511104) from the lower end requested by op ",
    "Current allocation summary follows.",
    TRACEBACK,
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate "
    "4.00TiB with allocator GPU_0_bfc on device 0. [executable_name='jit_broadcast_in_dim'] "
    "[tf-allocator-allocation-error='']",
]
# TensorFlow's own are from its sources and NCCL's, and from users' reports.
GPU_FROM_REPORTS = [
    "Could not allocate: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    TRACEBACK,
    f"{ERRORS}ResourceExhaustedError: OOM when allocating tensor with shape[64,2016,9,9] and type "
    "float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
]
TORCH_GPU_FROM_REPORTS = [
    TRACEBACK,
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 22.78 GiB. GPU 0 has a total "
    "capacity of 31.47 GiB of which 12.73 GiB is free. Including non-PyTorch memory, this process "
    "has 18.73 GiB memory in use.",
]
TORCH_1_GPU_FROM_REPORTS = [
    TRACEBACK,
    "RuntimeError: CUDA out of memory. Tried to allocate 2.87 GiB (GPU 0; 14.76 GiB total "
    "capacity; 8.77 GiB already allocated; 19.75 MiB free; 13.71 GiB reserved in total by PyTorch)",
]
TORCH_FULL_GPU_FROM_REPORTS = [
    TRACEBACK,
    "torch.AcceleratorError: CUDA error: out of memory",
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace "
    "below might be incorrect.",
]
JAX_GPU_FROM_REPORTS = [
    TRACEBACK,
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to "
    "allocate 3199993600 bytes.",
    "BufferAssignment OOM Debugging.",
]
TORCH_SURVIVED_FROM_REPORTS = [*TORCH_GPU_FROM_REPORTS, TRACEBACK, "KeyError: 'loss'"]
NOT_A_FAILURE_FROM_REPORTS = [
    "2025-05-18 21:59:55.086788: W external/xla/xla/tsl/framework/bfc_allocator.cc:310] Allocator "
    "(GPU_0_bfc) ran out of memory trying to allocate 3.37GiB with freed_by_count=0. The caller "
    "indicates that this is not a failure, but this may mean that there could be performance gains "
    "if more memory were available.",
    TRACEBACK,
    "KeyError: 'loss'",
]
JAX_HOST = [
    TRACEBACK,
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 4398046511104 bytes.",
    "--------------------",
    "For simplicity, JAX has removed its internal frames from the traceback of the following "
    "exception. Set JAX_TRACEBACK_FILTERING=off to include these.",
]
TORCH_HOST = [
    TRACEBACK,
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 281474976710656 bytes. Error code 12 (Cannot allocate "
    "memory)",
]
NCCL_FROM_SOURCES = [
    TRACEBACK,
    f"{ERRORS}InternalError: NCCL: unhandled system error (run with NCCL_DEBUG=INFO for details)"
    ". Set NCCL_DEBUG=WARN for detail.",
]
NCCL_PEER_FROM_SOURCES = [
    f"{ERRORS}InternalError: NCCL: remote process exited or there was a network error. "
    "Set NCCL_DEBUG=WARN for detail.",
]
OURS_PEER = ["error: another task of the cluster was lost: Graph execution error:"]
OURS_NOT_FORMED = [
    "error: the cluster did not form in 3 s: nothing listens for worker:1 (127.0.0.1:2)"
]
OURS_PORT = ["error: cannot listen at 127.0.0.1:2222: Address already in use"]
OURS_SERVER_PORT = ["error: ps:0 cannot serve at 127.0.0.1:2222: Could not start gRPC server"]
OURS_FLAG = ["error: Unknown command line flag 'nosuch'"]
OURS_SETTING = ["error: epochs: expected an integer ≥ 1, got 0"]
OURS_DATA = ["error: /data: no MNIST data; looked for mnist.npz, and for train-images-idx3-ubyte"]
NO_SCRIPT = ["python: can't open file '/tmp/nofile.py': [Errno 2] No such file or directory"]
MEMORY = "killed by the kernel for lack of memory (its limit is 256 MiB)"
NO_IMAGE = "h1: lab/tf:9 could not be pulled: dial tcp: lookup registry-1.docker.io: refused"
CUT = (
    "host h2: the connection to h2 was lost; after 4 s of this its containers' logs are not "
    "followed any more; the containers keep them"
)


@pytest.mark.parametrize(
    ("code", "reason", "lines", "cause", "words"),
    [
        (1, "", PER_REPLICA, Cause.PER_REPLICA, "Keras 3's fit"),
        (1, "", SOCKET_CLOSED, Cause.PEER_LOST, "lost its peer (exit code 1)"),
        (1, "", FROZEN_PEER, Cause.PEER_LOST, "lost its peer"),
        (1, "", OURS_PEER, Cause.PEER_LOST, "lost its peer"),
        (1, "", OURS_NOT_FORMED, Cause.PEER_LOST, "nothing listens for worker:1"),
        (1, "", NCCL_PEER_FROM_SOURCES, Cause.PEER_LOST, "lost its peer"),
        (1, "", NCCL_FROM_SOURCES, Cause.TRANSPORT, "unhandled system error"),
        (1, "", PORT, Cause.PORT_TAKEN, "its port is taken"),
        (1, "", OURS_PORT, Cause.PORT_TAKEN, "its port is taken"),
        (1, "", OURS_SERVER_PORT, Cause.PORT_TAKEN, "its port is taken"),
        (1, "", IMPORT, Cause.IMPORT_ERROR, "No module named 'tensorflow_addons'"),
        (1, "", NO_FILE, Cause.MISSING_DATA, ": /no/such/file.tfrecord ("),
        (2, "", OURS_DATA, Cause.MISSING_DATA, "/data: no MNIST data"),
        (1, "", TENSOR_TOO_LARGE, Cause.OUT_OF_MEMORY, "out of memory"),
        (1, "", NUMPY_MEMORY, Cause.OUT_OF_MEMORY, "out of memory"),
        (1, "", GPU_FROM_REPORTS, Cause.CUDA_OUT_OF_MEMORY, "on the GPU"),
        (1, "", TORCH_GPU, Cause.CUDA_OUT_OF_MEMORY, "GPU: Tried to allocate 4096.00 GiB (exit"),
        (1, "", JAX_GPU, Cause.CUDA_OUT_OF_MEMORY, "GPU: trying to allocate 4.00TiB (exit"),
        (1, "", TORCH_GPU_FROM_REPORTS, Cause.CUDA_OUT_OF_MEMORY, "GPU: Tried to allocate 22.78"),
        (1, "", TORCH_1_GPU_FROM_REPORTS, Cause.CUDA_OUT_OF_MEMORY, "allocate 2.87 GiB (exit"),
        (1, "", TORCH_FULL_GPU_FROM_REPORTS, Cause.CUDA_OUT_OF_MEMORY, "on the GPU (exit"),
        (1, "", JAX_GPU_FROM_REPORTS, Cause.CUDA_OUT_OF_MEMORY, "allocate 3199993600 bytes"),
        (1, "", TORCH_SURVIVED_FROM_REPORTS, Cause.UNKNOWN, "exit code 1"),
        (1, "", NOT_A_FAILURE_FROM_REPORTS, Cause.UNKNOWN, "exit code 1"),
        (1, "", JAX_HOST, Cause.OUT_OF_MEMORY, "out of memory (exit"),
        (1, "", TORCH_HOST, Cause.OUT_OF_MEMORY, "out of memory (exit"),
        (1, "", CHECKPOINT_DISK_FULL, Cause.DISK_FULL, "no space left"),
        (-11, "", H5_DISK_FULL, Cause.DISK_FULL, "(killed by SIGSEGV)"),
        (1, "", NUMPY_DISK_FULL, Cause.DISK_FULL, "no space left"),
        (1, "", TWO_CHIEFS, Cause.CONFIGURATION, "at most one 'chief' job"),
        (1, "", NO_SUCH_INDEX, Cause.CONFIGURATION, "`task_id` 3 exceeds"),
        (1, "", ABSL, Cause.CONFIGURATION, "Unknown command line flag 'nope'"),
        (2, "", ARGPARSE, Cause.CONFIGURATION, "argument --n: invalid int value"),
        (2, "", OURS_FLAG, Cause.CONFIGURATION, "Unknown command line flag"),
        (2, "", OURS_SETTING, Cause.CONFIGURATION, "epochs: expected an integer ≥ 1"),
        (2, "", NO_SCRIPT, Cause.NOT_FOUND, "can't open file '/tmp/nofile.py'"),
        (127, "", ["sh: 1: prog: not found"], Cause.NOT_FOUND, "not there: prog ("),
        (127, "", ["bash: line 1: prog: command not found"], Cause.NOT_FOUND, "not there: prog"),
        (
            127,
            "",
            ["[FATAL tini (6)] exec prog failed: No such file or directory"],
            Cause.NOT_FOUND,
            "exec prog failed",
        ),
        (-9, MEMORY, [], Cause.OUT_OF_MEMORY, MEMORY),
        (None, NO_IMAGE, [], Cause.IMAGE_MISSING, NO_IMAGE),
        (None, CUT, [], Cause.HOST_UNREACHABLE, CUT),
        (None, "made no progress for 60 s", [], Cause.STALLED, "made no progress for 60 s"),
        (None, "sh could not be started: [Errno 13] Permission denied", [], Cause.NOT_FOUND, "13"),
        (-9, "", [], Cause.SIGNAL, "killed by SIGKILL"),
        (-9, "h2: gone", [], Cause.SIGNAL, "killed by SIGKILL: h2: gone"),
        (137, "", [], Cause.SIGNAL, "what it ran was killed by SIGKILL"),
        (-6, "", [], Cause.SIGNAL, "killed by SIGABRT"),
        (0, "", ["done"], Cause.ENDED_EARLY, "exit code 0 before its time"),
        (1, "", ["ValueError: something else"], Cause.UNKNOWN, "exit code 1"),
        (255, "", [], Cause.UNKNOWN, "exit code 255"),
        (2, "", ["grep: nothing"], Cause.UNKNOWN, "exit code 2"),
        (None, "the run ended before this task was started", [], Cause.UNKNOWN, "the run ended"),
        (None, "", [], Cause.UNKNOWN, "did not end"),
    ],
)
def test_causes(code: int | None, reason: str, lines: list[str], cause: Cause, words: str) -> None:
    """Each known failure has its cause, in words that hold what matters."""
    found = diagnose(code, reason, lines)
    assert found.cause is cause
    assert words in found.words
    assert found.remedy == REMEDIES.get(cause, "")


def test_keras_fit_under_a_strategy() -> None:
    """Keras 3's fit under a strategy is named, with both ways out."""
    remedy = diagnose(1, "", PER_REPLICA).remedy
    assert "keras#20585" in remedy
    assert "TF_USE_LEGACY_KERAS" in remedy
    assert "docs/training.md" in remedy


def test_a_cause_counts_more_than_what_it_led_to() -> None:
    """A log that tells both of a cause and of lost peers is judged by the cause."""
    assert diagnose(1, "", IMPORT + SOCKET_CLOSED[:1]).cause is Cause.IMPORT_ERROR
    assert diagnose(1, "", CHECKPOINT_DISK_FULL + SOCKET_CLOSED).cause is Cause.DISK_FULL


def test_an_error_that_was_survived_is_no_cause() -> None:
    """What an earlier traceback told is not held against the end, unless it led to the last."""
    other = [TRACEBACK, "RuntimeError: loss is not finite"]
    assert diagnose(1, "", [*IMPORT, "going on without it", *other]).cause is Cause.UNKNOWN
    chained = "During handling of the above exception, another exception occurred:"
    assert diagnose(1, "", [*IMPORT, chained, *other]).cause is Cause.IMPORT_ERROR


def test_a_killed_task_is_not_judged_by_its_log() -> None:
    """SIGKILL leaves no time to say why: what stands in the log is older."""
    assert diagnose(-9, "", IMPORT).cause is Cause.SIGNAL


def test_what_starting_again_cannot_cure() -> None:
    """Only what another start would meet again in the same way is beyond cure."""
    assert {cause for cause in Cause if not cause.is_curable} == {
        Cause.IMPORT_ERROR,
        Cause.CONFIGURATION,
        Cause.MISSING_DATA,
        Cause.PER_REPLICA,
        Cause.NOT_FOUND,
        Cause.IMAGE_MISSING,
    }


def end(index: int, at: float, cause: Cause) -> Ended:
    return Ended(TaskId.parse(f"worker:{index}"), at, Diagnosis(cause, cause.value))


@pytest.mark.parametrize(
    ("ends", "first"),
    [
        ([end(0, 1.0, Cause.SIGNAL), end(1, 1.2, Cause.PEER_LOST)], 0),
        ([end(0, 1.0, Cause.PEER_LOST), end(1, 1.2, Cause.SIGNAL)], 1),
        ([end(0, 1.0, Cause.PEER_LOST), end(1, 9.0, Cause.IMPORT_ERROR)], 1),
        ([end(0, 1.0, Cause.TRANSPORT), end(1, 1.2, Cause.SIGNAL)], 1),
        ([end(0, 1.0, Cause.TRANSPORT), end(1, 9.0, Cause.SIGNAL)], 0),
        ([end(0, 1.0, Cause.SIGNAL), end(1, 1.2, Cause.TRANSPORT)], 0),
        ([end(0, 1.0, Cause.PEER_LOST), end(1, 1.5, Cause.PEER_LOST)], 0),
        ([end(0, 1.0, Cause.UNKNOWN), end(1, 1.5, Cause.DISK_FULL)], 0),
    ],
)
def test_first_cause(ends: list[Ended], first: int) -> None:
    """The first end that is no consequence is the cause, in whatever order ends are told."""
    for order in permutations(ends):
        assert first_cause(order) == TaskId.parse(f"worker:{first}")


def test_no_end_has_no_cause() -> None:
    """Where nothing ended nothing is blamed; a single end is its own cause."""
    assert first_cause([]) is None
    assert first_cause([Ended(CHIEF, 0.0, Diagnosis(Cause.PEER_LOST, ""))]) == CHIEF
