"""How fast tasks may write while the console shows it all, and what the launcher needs for it.

.venv/bin/python -m bench.relay
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.measure import LAUNCH, compile_launcher, say

LINE_BYTES = 80
LINES = 6_250_000  # a task: 500 MB
WRITER = f"""
import os, sys
task = os.environ["TF_CONFIG"][-20:]
block = b"".join(b"%011d " % i + b"x" * {LINE_BYTES - 13} + b"\\n" for i in range(10_000))
for _ in range({LINES // 10_000}):
    sys.stdout.buffer.write(block)
"""


def main() -> None:
    """Print the table."""
    compile_launcher()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "writer.py")
        script.write_text(WRITER)
        Path(folder, "cluster.yaml").write_text("tasks: {chief: {}, worker: {count: 1}}\n")
        started = time.perf_counter()
        launcher = subprocess.Popen(
            [LAUNCH, "--runs-dir", folder, str(script)], cwd=folder, stdout=subprocess.PIPE
        )
        peak = _PeakMemory(launcher.pid)
        shown = _count_lines(launcher)
        took_s = time.perf_counter() - started
        code = launcher.wait()
        [run] = [p for p in Path(folder).iterdir() if (p / "report.json").exists()]
        whole = all(_is_whole(log) for log in (run / "logs").iterdir())
        tasks = json.loads((run / "report.json").read_text())["tasks"]
    total_mb = 2 * LINES * LINE_BYTES / 1e6
    writing_s = max(task["duration_s"] for task in tasks)
    files = total_mb / writing_s
    say("into the files, two tasks together", f"{files:.0f} MB/s", ">= 50 MB/s", files >= 50)
    relayed = total_mb / took_s
    say("onto the console, from start to end", f"{relayed:.0f} MB/s", ">= 50 MB/s", relayed >= 50)
    mb = peak.bytes / 1e6
    say("resident memory of the launcher", f"{mb:.0f} MB", "< 150 MB", mb < 150)
    say("files whole, exit code 0", f"{whole}, {code}", "True, 0", whole and code == 0)
    say("lines shown", f"{shown}", f"{2 * LINES}", shown == 2 * LINES)


def _count_lines(launcher: "subprocess.Popen[bytes]") -> int:
    """Return how many of the writers' lines the console showed."""
    assert launcher.stdout
    count = 0
    rest = b""
    while chunk := os.read(launcher.stdout.fileno(), 1 << 20):
        text = rest + chunk
        end = text.rfind(b"\n") + 1
        count += text.count(b" | 0", 0, end)
        rest = text[end:]
    return count


def _is_whole(log: Path) -> bool:
    block = b"".join(b"%011d " % i + b"x" * (LINE_BYTES - 13) + b"\n" for i in range(10_000))
    with log.open("rb") as file:
        for _ in range(LINES // 10_000):
            if file.read(len(block)) != block:
                return False
        return not file.read(1)


class _PeakMemory:
    """Watches a process's resident memory until it ends."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("VmHWM:"):
                    self.bytes = max(self.bytes, int(line.split()[1]) * 1024)
            time.sleep(0.05)


if __name__ == "__main__":
    main()
