"""What the launcher adds to what it starts.

.venv/bin/python -m bench.overhead
"""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.measure import LAUNCH, REPOSITORY, compile_launcher, in_turn, say

RUNS = 21


def main() -> None:
    """Print the table."""
    compile_launcher()
    with tempfile.TemporaryDirectory() as folder:
        single = [LAUNCH, "--single", "--runs-dir", folder, "--", "true"]
        took = in_turn({"true": ["true"], "launch": single}, RUNS)
        added_s = statistics.median(
            a - b for a, b in zip(took["launch"], took["true"], strict=True)
        )
        say("launch --single -- true, less true", f"{added_s:.3f} s", "<= 0.35 s", added_s <= 0.35)
        exec_s = statistics.median(_until_both_run_s(Path(folder)) for _ in range(RUNS))
        say("default cluster, until both run", f"{exec_s:.3f} s", "<= 0.5 s", exec_s <= 0.5)


def _until_both_run_s(folder: Path) -> float:
    """Return the seconds from the launcher's start until both trainers' interpreters run.

    The trainer is a script that notes the time at which its first line is reached.
    """
    script = folder / "note_time.py"
    script.write_text("import time\nprint(time.time())\n")
    started = time.time()
    shown = subprocess.run(
        [LAUNCH, "--json", "--runs-dir", str(folder), str(script)],
        check=True, capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    tasks = json.loads(shown.stdout)["tasks"]
    return max(float(Path(task["log"]).read_text()) for task in tasks) - started


if __name__ == "__main__":
    main()
