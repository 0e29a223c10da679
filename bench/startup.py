"""How long the launcher takes to say something, against the bare interpreter.

.venv/bin/python -m bench.startup
"""

import statistics
import subprocess
import sys

from bench.measure import LAUNCH, REPOSITORY, compile_launcher, in_turn, median_ratio, say

RUNS = 41


def main() -> None:
    """Print the table."""
    compile_launcher()
    took = in_turn(
        {
            "bare": [sys.executable, "-c", "pass"],
            "help": [LAUNCH, "--help"],
            "dry run": [LAUNCH, "--dry-run", "mnist_dist"],
        },
        RUNS,
    )
    bare_ms = statistics.median(took["bare"]) * 1000
    print(f"python -c pass: {bare_ms:.1f} ms (median of {RUNS})")
    for name, limit in (("help", 2.0), ("dry run", 4.0)):
        ratio = median_ratio(took[name], took["bare"])
        ms = statistics.median(took[name]) * 1000
        figure = f"{ms:.1f} ms, {ratio:.2f}x"
        say(f"launch, {name}, to python -c pass", figure, f"<= {limit}x", ratio <= limit)
    import_ms = statistics.median(_import_ms() for _ in range(RUNS))
    say("import launcher.tf_config", f"{import_ms:.1f} ms", "< 20 ms", import_ms < 20)


def _import_ms() -> float:
    """Return the milliseconds that importing launcher.tf_config takes in a fresh interpreter."""
    code = (
        "import time; t = time.perf_counter(); import launcher.tf_config; "
        "print((time.perf_counter() - t) * 1000)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    return float(shown.stdout)


if __name__ == "__main__":
    main()
