"""Runs of processes on a real NVIDIA GPU, with whatever of PyTorch and JAX is there.

Skipped where nvidia-smi lists no GPU: then just the fakes of tests/test_gpus_here.py speak for this
part. `pytest -m gpu -s` shows what was seen too.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from launcher import gpus, gpus_here
from tests.conftest import Done, Launching, until

THERE = gpus_here.listed().gpus or ()
LIBRARIES = [name for name in ("torch", "jax") if find_spec(name)]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not THERE, reason="no NVIDIA GPU here"),
    pytest.mark.skipif(not LIBRARIES, reason="neither PyTorch nor JAX here"),
]

LONG_S = 120.0  # the first start of CUDA, its libraries not read yet
FREED_S = 5.0
# Each prints what it sees, says that it holds 1 GiB, or takes what no GPU has.
SEE = {
    "torch": "import torch; print('sees', torch.cuda.device_count(), flush=True)",
    "jax": (
        "import jax\ntry: seen = len(jax.devices('gpu'))\n"
        "except RuntimeError: seen = 0\nprint('sees', seen, flush=True)"
    ),
}
HOLD = {
    "torch": "import torch; x = torch.ones(1 << 28, device='cuda'); torch.cuda.synchronize()",
    "jax": "import jax.numpy as n; x = n.ones(1 << 28, n.float32).block_until_ready()",
}
FILL = {
    "torch": "import torch; torch.empty(1 << 42, dtype=torch.uint8, device='cuda')",
    "jax": "import jax.numpy as n; n.ones(1 << 40, n.float32).block_until_ready()",
}
STAY = "\nimport time; print('holds', time.time(), flush=True); time.sleep(1000)"
HOLDING = (sys.executable, "-c", HOLD[LIBRARIES[0]] + STAY) if LIBRARIES else ()
ONE = (
    "hosts: {{me: {{address: 127.0.0.1, gpus: {lent}}}}}\ntasks: {tasks}\ntimeouts: {{grace_s: 5}}"
)


@pytest.fixture(autouse=True)
def _nothing_stays(launching: Launching) -> Iterator[None]:
    launching.env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    assert used() == {}, "something computes on a GPU already"
    yield
    launching.close()
    until(lambda: used() == {}, "the GPUs to be free", FREED_S)


def used() -> dict[str, tuple[str, ...]]:
    """Return what computes on GPUs, by UUID."""
    return dict(gpus_here.known().users)


def smi(*words: str) -> str:
    return subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, check=True).stdout


def memory_mib() -> int:
    return sum(map(int, smi("--query-gpu=memory.used", "--format=csv,noheader,nounits").split()))


def cluster(launching: Launching, lent: object, tasks: str = "{chief: {gpus: 1}}") -> None:
    launching.cluster(ONE.format(lent=lent, tasks=tasks))


def run(launching: Launching, *words: str) -> Done:
    process = launching.start(*words)
    out, err = process.communicate(timeout=LONG_S)
    print(f"$ launch {words[0]} …\n{out}{err}({process.returncode})")
    return Done(process.returncode, out, err)


def script(code: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", code)


def test_what_nvidia_smi_says() -> None:
    """Its list is read as it means it."""
    for words in (gpus.LIST, gpus.APPS, ("nvidia-smi", "-L")):
        print(f"$ {' '.join(words)}\n{smi(*words[1:])}")
    for gpu in THERE:
        assert f"GPU {gpu.number}: " in smi("-L") and f"(UUID: {gpu.uuid})" in smi("-L")
    assert gpus_here.ids() == tuple(gpu.number for gpu in THERE)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("lent", ["auto", "[0]", THERE and f"[{THERE[0].uuid}]"])
def test_who_sees_one(launching: Launching, library: str, lent: str) -> None:
    """A task with one GPU sees one, under whatever name it was lent; one without sees none."""
    cluster(launching, lent, "{chief: {gpus: 1}, worker: {}}")
    done = run(launching, *script(SEE[library]))
    assert done.code == 0
    assert launching.log("chief-0").endswith(b"sees 1\n")
    assert launching.log("worker-0").endswith(b"sees 0\n")


def test_more_than_there_are(launching: Launching) -> None:
    """Nothing is started where tasks want more GPUs than there are."""
    more = len(THERE) + 1
    for lent, code in ((more, 3), ("auto", 2)):
        for tasks in (f"{{chief: {{gpus: {more}}}}}", f"{{worker: {{count: {more}, gpus: 1}}}}"):
            cluster(launching, lent, tasks)
            assert run(launching, "--", "true").code == code
    assert not (launching.folder / "runs").exists()


def test_a_foreign_process(launching: Launching) -> None:
    """A process of no run is named and keeps runs from its GPU, until it ends."""
    cluster(launching, "[0]")
    with subprocess.Popen(
        HOLDING,
        stdout=subprocess.PIPE,
        text=True,
        env={**launching.env, "CUDA_VISIBLE_DEVICES": "0"},
    ) as other:
        try:
            assert other.stdout and other.stdout.readline().startswith("holds")
            print(smi(*gpus.APPS[1:]))
            refused = run(launching, "--", "true")
            assert refused.code == 3 and f"(pid {other.pid})" in refused.err
            assert f"(pid {other.pid})" in run(launching, "hosts").out
            assert run(launching, "check", "--hosts").code == 3
        finally:
            other.kill()
    assert run(launching, "--", "true").code == 0


def test_two_launches(launching: Launching) -> None:
    """The second is told who has the GPU, or waits and starts within 2 s of the release."""
    cluster(launching, "[0]")
    first = launching.start("--", *HOLDING)
    until(lambda: b"holds" in launching.log("chief-0"), "the first run", LONG_S)
    assert "held" in run(launching, "hosts").out
    refused = run(launching, "--", "true")
    assert refused.code == 3 and "GPU 0 is held by run " in refused.err
    mark = launching.folder / "started"
    second = launching.start("--wait", "--", "sh", "-c", f"date +%s.%N >{mark}")
    assert second.stderr and "waiting for GPU 0 held by run " in second.stderr.readline()
    first.terminate()
    assert first.wait(LONG_S) == 143
    freed_at = time.time()
    assert second.wait(LONG_S) == 0
    late_s = float(mark.read_text()) - freed_at
    print(f"started {late_s:.2f} s after the release")
    assert late_s < 2.0


def test_a_single_task(launching: Launching) -> None:
    """`--single` takes a GPU."""
    launching.write("see.py", SEE[LIBRARIES[0]])
    assert run(launching, "--single", "./see.py").code == 0
    assert launching.log("chief-0").endswith(b"sees 1\n")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_full_gpu(launching: Launching, library: str) -> None:
    """Who takes more memory than there is is told so."""
    cluster(launching, "[0]")
    assert run(launching, *script(FILL[library])).code == 1
    print(launching.log("chief-0").decode()[-3000:])
    (task,) = launching.report()["tasks"]
    assert task["cause"] == "cuda out of memory", json.dumps(task)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_memory_is_given_back(launching: Launching, signum: signal.Signals, code: int) -> None:
    """A run that is ended leaves nothing on the GPU."""
    before = memory_mib()
    cluster(launching, "[0]")
    process = launching.start("--", *HOLDING)
    until(lambda: b"holds" in launching.log("chief-0"), "the task", LONG_S)
    assert memory_mib() >= before + 1024
    process.send_signal(signum)
    assert process.wait(LONG_S) == code
    until(lambda: memory_mib() <= before + 16, "the memory", FREED_S)
