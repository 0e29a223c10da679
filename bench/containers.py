"""What the launcher adds to containers on hosts, beside a perfect parallel `ssh … docker run -d`.

sudo .venv/bin/python -m bench.containers      (makes hosts on this machine: tests/testbed)
"""

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from bench.measure import await_idle, compile_launcher, say
from tests.testbed.images import BUSYBOX
from tests.testbed.testbed import Testbed

SIZES = (1, 2, 4, 8)
ROUNDS = 5
_POLL_S = 0.02
_TASK = ("sleep", "600")


def main() -> None:
    """Print the table."""
    compile_launcher()
    bed = Testbed.up(max(SIZES))
    try:
        with tempfile.TemporaryDirectory() as folder:
            for count in SIZES:
                _compare(bed, Path(folder), count)
    finally:
        bed.down()


def _compare(bed: Testbed, folder: Path, count: int) -> None:
    raw, ours = [], []
    for round_number in range(ROUNDS + 1):
        await_idle()
        raw_s = _raw_s(bed, count)
        await_idle()
        ours_s = _ours_s(bed, folder, count)
        if round_number:
            raw.append(raw_s)
            ours.append(ours_s)
    added = statistics.median(a - b for a, b in zip(ours, raw, strict=True))
    limit_s = 0.5 if count < 4 else 0.0
    name = f"{count} containers on as many hosts, less raw ssh"
    medians = f"{statistics.median(ours):.2f} - {statistics.median(raw):.2f}"
    say(name, f"{added:+.2f} s ({medians})", f"<= {limit_s:g} s", added <= limit_s)


def _raw_s(bed: Testbed, count: int) -> float:
    """Return the seconds until all containers of a loop of ssh processes run."""
    began = time.time()
    started = [
        subprocess.Popen(
            ["ssh", "-F", str(bed.ssh_config), host.name, "docker", "run", "-d", "--init",
             "--network", "host", "--entrypoint", _TASK[0], BUSYBOX, *_TASK[1:]],
            stdout=subprocess.PIPE, text=True,
        )
        for host in bed.hosts[:count]
    ]  # fmt: skip
    ids = [process.communicate()[0].strip() for process in started]
    pairs = list(zip(bed.hosts[:count], ids, strict=True))
    last = max(_started_at(host.engine.request, container) for host, container in pairs)
    for host, container in pairs:
        host.docker("rm", "-f", container)
    return last - began


def _ours_s(bed: Testbed, folder: Path, count: int) -> float:
    """Return the seconds from the launcher's start until all its containers run."""
    hosts = "".join(f"  {h.name}: {{address: {h.address}}}\n" for h in bed.hosts[:count])
    names = ", ".join(h.name for h in bed.hosts[:count])
    text = f"image: {BUSYBOX}\nhosts:\n{hosts}tasks:\n  worker: {{hosts: [{names}]}}\n"
    (folder / "cluster.yaml").write_text(text)
    (home := folder / "home").mkdir(exist_ok=True)
    env = bed.environ(home)
    config = (home / ".ssh/config").read_text()
    for host in bed.hosts:
        config = config.replace(f"Host {host.name}\n", f"Host {host.name} {host.address}\n")
    (home / ".ssh/config").write_text(config)
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "--", *_TASK],
        cwd=folder, env={**env, "PYTHONPATH": str(Path.cwd())}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        times = [_await_start(host.engine.request) for host in bed.hosts[:count]]
    finally:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.wait()
    return max(times) - began


def _await_start(request: Callable[..., object]) -> float:
    while True:
        for container in _running(request):
            return _started_at(request, container)
        time.sleep(_POLL_S)


def _running(request: Callable[..., object]) -> Iterator[str]:
    listed = request("GET", "/containers/json")
    assert isinstance(listed, list) or listed == "[]\n", listed
    for each in listed if isinstance(listed, list) else json.loads(listed):
        yield each["Id"]


def _started_at(request: Callable[..., object], container: str) -> float:
    described = request("GET", f"/containers/{container}/json")
    assert isinstance(described, dict)
    text = described["State"]["StartedAt"]
    return datetime.fromisoformat(f"{text[:26]}+00:00").timestamp()


if __name__ == "__main__":
    main()
