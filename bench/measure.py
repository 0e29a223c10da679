"""What the benchmarks share: processes timed in turn, and the ratios of what they took."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_LOOK_S = 0.3
LAUNCH = str(Path(sys.executable).with_name("launch"))


def time_once(argv: Sequence[str], **options: object) -> float:
    """Return the seconds that a command takes; what it prints is thrown away."""
    started = time.perf_counter()
    subprocess.run(
        argv, check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY, **options  # type: ignore[call-overload]
    )  # fmt: skip
    return time.perf_counter() - started


def in_turn(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each command, run A B C A B C … after one round that is not counted.

    The machine's speed drifts; rounds make the ratio within one round meaningful.
    """
    took: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(runs + 1):
        for name, argv in commands.items():
            seconds = time_once(argv)
            if round_number:
                took[name].append(seconds)
    return took


def median_ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """Return the median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def compile_launcher() -> None:
    """Write the launcher's byte code, as installing a wheel does."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "launcher"],
        check=True,
        cwd=REPOSITORY,
        env=environment,
    )


def await_idle(part: float = 0.9, deadline_s: float = 20.0) -> None:
    """Return once this machine's processors are idle for a while, or at the deadline.

    What was measured before may still be tidied up by daemons; the next must not pay for it.
    """
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        before = _jiffies()
        time.sleep(_LOOK_S)
        idle, total = (now - then for now, then in zip(_jiffies(), before, strict=True))
        if idle >= part * total:
            return


def _jiffies() -> tuple[int, int]:
    """Return how long all processors have been idle, and all in all, as /proc/stat counts."""
    numbers = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return numbers[3] + numbers[4], sum(numbers)


def say(name: str, figure: str, limit: str, holds: bool) -> None:
    """Print one line of a benchmark's table."""
    print(f"{name:<58} {figure:>22}   {limit:<12} {'holds' if holds else 'MISSED'}")
