"""What nvidia-smi's texts tell of GPUs, and what that rules out.

The texts are from its users' reports: there is no GPU here.
"""

import pytest

from launcher import gpus
from launcher.gpus import Gpu, Known
from launcher.task import CHIEF, TaskId

A, B = "GPU-d0180485-9584-433c-6782-c335d5df2cb3", "GPU-777ead31-954e-837f-590f-6c4974d8e571"
TWO = (Gpu("0", A), Gpu("1", B))


def test_a_gpu_that_fails_is_none() -> None:
    """What nvidia-smi says beside its list is no GPU."""
    lost = "Unable to determine the device handle for GPU0000:41:00.0: Unknown Error"
    assert gpus.listed([f"0, {A}", lost, f"1, {B}"]) == TWO
    assert gpus.listed(["No devices were found"]) == ()


def test_who_uses_them() -> None:
    """Each process is named with its pid; what is no process, or is there to share, uses none."""
    lines = (
        f"{A}, 4242, /opt/venv/bin/python3",
        f"{A}, 99, [Not Found]",
        f"{A}, 7, ./train a, b",
        f"{B}, 77, /usr/bin/nvidia-cuda-mps-server",
        f"{B}, [Not Supported], [Not Supported]",
        "",
    )
    named = ("/opt/venv/bin/python3 (pid 4242)", "[Not Found] (pid 99)", "./train a, b (pid 7)")
    assert gpus.users(lines) == {A: named}


def test_names_fit_for_a_terminal() -> None:
    """A process of somebody else cannot write to the terminal by its name."""
    assert gpus.users([f"{A}, 1, \x1b[2Jx"]) == {A: ("?[2Jx (pid 1)",)}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "there is no nvidia-smi"),
        ("sh: 1: nvidia-smi: not found", "there is no nvidia-smi"),
        ("bash: line 9: nvidia-smi: command not found", "there is no nvidia-smi"),
        (
            "Failed to initialize NVML: Driver/library version mismatch",
            "nvidia-smi fails (Failed to initialize NVML: Driver/library version mismatch)",
        ),
        ("No devices were found", "nvidia-smi fails (No devices were found)"),
    ],
)
def test_without_a_list(said: str, words: str) -> None:
    """A driver that fails differs from one that is not there, and is told as it says it."""
    (only,) = Known(None, said).problems([("0", CHIEF)])
    assert only == f"{words}; install NVIDIA's driver, or lend no GPUs of this host"


def test_what_is_in_the_way() -> None:
    """A run that has a GPU is named before a process of it, and a GPU is given once."""
    worker = TaskId(CHIEF.type, 1)
    used = {A: ("python3 (pid 7)",), B: ("python3 (pid 8)",)}
    known = Known(TWO, users=used, holders={A: ("held by run lab-x of ann",)})
    assert list(known.problems([("0", CHIEF), (B[:9], worker), ("2", worker)])) == [
        "GPU 0, which chief:0 shall have, is held by run lab-x of ann",
        f"GPU {B[:9]}, which chief:1 shall have, is used by python3 (pid 8)",
        f"has no GPU 2, which chief:1 shall have; it has 0 ({A}), 1 ({B})",
    ]
    assert list(Known(TWO).problems([("0", CHIEF), (A, worker)])) == [
        f"GPU {A}, which chief:1 shall have, is the one that its `gpus` name as 0 too"
    ]
