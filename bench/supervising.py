"""What supervising 64 processes costs that print a line a second each.

.venv/bin/python -m bench.supervising
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import REPOSITORY, compile_launcher, say

TASKS = 64
_SETTLE_S = 5.0
_MEASURE_S = 20.0
_CLUSTER = f"tasks: {{worker: {{count: {TASKS}}}}}\n"
_LOOP = "while :; do echo a line of a task that says how it does; sleep 1; done"


def main() -> None:
    """Print the table."""
    compile_launcher()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cluster.yaml").write_text(_CLUSTER)
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", "--", "sh", "-c", _LOOP],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            time.sleep(_SETTLE_S)
            before = _cpu_s(process.pid)
            time.sleep(_MEASURE_S)
            share = (_cpu_s(process.pid) - before) / _MEASURE_S
            mb = _resident_mb(process.pid)
        finally:
            for _ in range(2):
                process.send_signal(signal.SIGTERM)
            process.wait()
    say(f"supervising {TASKS} tasks, of one core", f"{share:.1%}", "<= 3 %", share <= 0.03)
    say("the same, resident memory", f"{mb:.0f} MB", "<= 120 MB", mb <= 120)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


if __name__ == "__main__":
    main()
