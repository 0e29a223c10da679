"""What `launch ps` takes over eight hosts: to list a run of as many tasks whose launcher is gone.

sudo .venv/bin/python -m bench.ps      (makes hosts on this machine: tests/testbed)
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import compile_launcher, say
from tests.testbed.images import BUSYBOX
from tests.testbed.testbed import Testbed

HOSTS = 8
ROUNDS = 9
_LIMIT_S = 0.8
_POLL_S = 0.05


def main() -> None:
    """Print the table."""
    compile_launcher()
    bed = Testbed.up(HOSTS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(bed, Path(folder))
    finally:
        bed.down()


def _measure(bed: Testbed, folder: Path) -> None:
    hosts = "".join(
        f"  {h.name}: {{address: {h.address}, ssh: {{host: {h.name}}}}}\n" for h in bed.hosts
    )
    names = ", ".join(host.name for host in bed.hosts)
    (folder / "cluster.yaml").write_text(
        f"image: {BUSYBOX}\nhosts:\n{hosts}tasks: {{worker: {{hosts: [{names}]}}}}\n"
    )
    (home := folder / "home").mkdir()
    env = {**bed.environ(home), "PYTHONPATH": str(Path.cwd())}
    launch = [sys.executable, "-m", "launcher"]
    run = subprocess.Popen(
        [*launch, "--", "sleep", "600"], cwd=folder, env=env, stdout=subprocess.DEVNULL
    )
    try:
        while sum(bool(host.docker("ps", "-q")) for host in bed.hosts) < HOSTS:
            time.sleep(_POLL_S)
    finally:
        run.kill()
        run.wait()
    took = []
    for round_number in range(ROUNDS + 1):
        began = time.perf_counter()
        done = subprocess.run([*launch, "ps", "--json"], cwd=folder, env=env, capture_output=True)
        if round_number:
            took.append(time.perf_counter() - began)
        (listed,) = json.loads(done.stdout)["runs"]
        assert (listed["up"], listed["total"]) == (HOSTS, HOSTS), listed
    median_s = statistics.median(took)
    figure = f"{median_s:.2f} s ({min(took):.2f} to {max(took):.2f})"
    say(f"launch ps over {HOSTS} hosts", figure, f"<= {_LIMIT_S:g} s", median_s <= _LIMIT_S)


if __name__ == "__main__":
    main()
