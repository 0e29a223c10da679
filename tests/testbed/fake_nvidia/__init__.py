"""Fakes of NVIDIA's programs, for hosts without a GPU. Nothing here computes on a GPU.

A host that has them answers `nvidia-smi` from two tables in /etc/fake-nvidia, which tests may
rewrite, and its Docker accepts `--gpus`, because it finds a runtime hook on its PATH. The fake hook
refuses a device that the first table lacks, and notes what was asked for.
"""

import shutil
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("nvidia-smi", "nvidia-container-runtime-hook")
MEMORY_MIB = 24576


def uuid(host: str, index: int) -> str:
    """Return the UUID of a fake GPU."""
    number = sum(ord(c) << (8 * i) for i, c in enumerate(reversed(host))) % 16**8
    return f"GPU-{number:08x}-fa4e-4000-8000-{index:012x}"


def install(root: Path, usr_local: Path, gpus: int) -> None:
    """Give a host, whose root folder and /usr/local these are, that many fake GPUs."""
    for program in PROGRAMS:
        target = usr_local / "bin" / program
        shutil.copyfile(HERE / program, target)
        target.chmod(0o755)
    write_gpus(root, gpus)
    write_processes(root, ())


def write_gpus(root: Path, gpus: int, used_mib: int = 0) -> None:
    """Set which GPUs the host has: index, uuid, name, total and used MiB of each."""
    host = (root / "etc/hostname").read_text().strip()
    lines = [f"{i}, {uuid(host, i)}, Fake GPU, {MEMORY_MIB}, {used_mib}\n" for i in range(gpus)]
    _write(root, "gpus.csv", lines)


def write_processes(root: Path, processes: tuple[tuple[str, int, str, int], ...]) -> None:
    """Set what computes on them: (uuid of the GPU, pid, program, used MiB) of each process."""
    _write(root, "processes.csv", [", ".join(map(str, process)) + "\n" for process in processes])


def requests(root: Path) -> tuple[str, ...]:
    """Return which devices containers asked for, one `NVIDIA_VISIBLE_DEVICES` each, in order."""
    log = root / "etc/fake-nvidia/requests.log"
    return tuple(log.read_text().splitlines()) if log.exists() else ()


def _write(root: Path, name: str, lines: list[str]) -> None:
    folder = root / "etc/fake-nvidia"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(lines))
