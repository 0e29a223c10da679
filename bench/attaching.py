"""How long it takes to attach to a run of 16 tasks whose launcher was killed, and to list it.

sudo .venv/bin/python -m bench.attaching            (makes hosts on this machine: tests/testbed)
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import REPOSITORY, compile_launcher, say
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX

ROUNDS = 3
TASKS = 16
_DEADLINE_S = 60.0
_LOOP = "while :; do echo alive; sleep 0.1; done"


def main() -> None:
    """Print the table."""
    compile_launcher()
    os.environ.setdefault("LAUNCH_TESTBED", "att")
    bed = Testbed.up(4)
    try:
        with tempfile.TemporaryDirectory() as folder:
            took = [_attached_s(bed, Path(folder) / str(number)) for number in range(ROUNDS)]
    finally:
        bed.down()
    median = statistics.median(took)
    say(f"attach to {TASKS} tasks on 4 hosts, to live logs", f"{median:.2f} s", "<= 1.5 s",
        median <= 1.5)  # fmt: skip


def _attached_s(bed: Testbed, folder: Path) -> float:
    """Return the seconds from `launch attach` until every task's lines are shown."""
    folder.mkdir()
    hosts = "".join(
        f"  {host.name}: {{address: {host.address}, ssh: {{host: {host.name}}}}}\n"
        for host in bed.hosts
    )
    text = f"image: {BUSYBOX}\nhosts:\n{hosts}tasks: {{worker: {{count: {TASKS}}}}}\n"
    (folder / "cluster.yaml").write_text(text)
    env = {**bed.environ(folder / "home"), "PYTHONPATH": str(REPOSITORY)}
    launch = [sys.executable, "-m", "launcher"]
    first = subprocess.Popen(
        [*launch, "--", "sh", "-c", _LOOP], cwd=folder, env=env, stdout=subprocess.DEVNULL
    )
    logs = folder / "runs"
    _until(lambda: sum(p.stat().st_size > 0 for p in logs.glob("*/logs/*.1.log")) == TASKS)
    first.kill()
    first.wait()
    began = time.perf_counter()
    second = subprocess.Popen(
        [*launch, "attach", "last"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert second.stdout
        shown: set[str] = set()
        while len(shown) < TASKS:
            line = second.stdout.readline()
            assert line, "it ended before all were shown"
            if " | alive" in line:
                shown.add(line.split()[0])
        return time.perf_counter() - began
    finally:
        for _ in range(2):
            second.send_signal(signal.SIGTERM)
        second.communicate()


def _until(condition: object) -> None:
    assert callable(condition)
    give_up_at = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {_DEADLINE_S:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
