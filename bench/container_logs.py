"""Whether logs are whole when connections break under four containers that print 20 MB a second.

One container each on the four hosts of a testbed, each followed over its host's one SSH
connection; every connection is dropped twice while they print. Needs root and Docker.

.venv/bin/python -m bench.container_logs
"""

import os
import resource
import tempfile
import threading
import time
from pathlib import Path

from bench.measure import say
from launcher.container_logs import LogFollower
from launcher.engine import Engine
from launcher.ssh import Connections, Target
from tests.testbed import Testbed

IMAGE = "launch-testbed/busybox:1"
HOSTS = 4
MB_PER_S = 20  # in all
LINE_BYTES = 1000
PRINT_S = 20
BURSTS_PER_S = 5
DROPS_AT_S = (6, 12)
BURST_LINES = MB_PER_S * 1_000_000 // HOSTS // LINE_BYTES // BURSTS_PER_S
LINES = BURST_LINES * BURSTS_PER_S * PRINT_S
# Every burst begins at its time, or at once where the engine takes lines more slowly.
WRITER = f"""
from=0
start=$(cut -d' ' -f1 /proc/uptime)
while [ $from -lt {LINES} ]; do
  awk -v from=$from 'BEGIN {{
    x = sprintf("%{LINE_BYTES - 13}s", "")
    for (i = from; i < from + {BURST_LINES}; i++) printf "%011d %s\\n", i, x
  }}'
  from=$((from + {BURST_LINES}))
  usleep $(awk -v from=$from -v start=$start '{{
    left = start + from / {BURST_LINES * BURSTS_PER_S} - $1
    print (left > 0 ? int(left * 1000000) : 0)
  }}' /proc/uptime)
done
"""


def main() -> None:
    """Print the table."""
    bed = Testbed.up(HOSTS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(bed, Path(folder))
    finally:
        bed.down()


def _measure(bed: Testbed, folder: Path) -> None:
    bed.environ(folder / "home")
    connections = Connections(home=folder / "home")
    engines = [
        Engine(host.name, connections.of(Target(host.name, host.name)).open_socket)
        for host in bed.hosts
    ]
    logs = [folder / f"worker-{i}.1.log" for i in range(HOSTS)]
    ids = [host.docker("run", "-d", "--network", "none", IMAGE, "sh", "-c", WRITER)
           for host in bed.hosts]  # fmt: skip
    started = time.perf_counter()
    cpu_s = _cpu_s()
    followers = [
        threading.Thread(target=LogFollower(engine, id_, str(log), is_over=bool).run)
        for engine, id_, log in zip(engines, ids, logs, strict=True)
    ]
    for follower in followers:
        follower.start()
    for at_s in DROPS_AT_S:
        time.sleep(max(0.0, started + at_s - time.perf_counter()))
        for host in bed.hosts:
            host.drop_ssh()
    for host, id_ in zip(bed.hosts, ids, strict=True):
        host.docker("wait", id_)
    printed_s = time.perf_counter() - started
    for follower in followers:
        follower.join()
    home_s = time.perf_counter() - started
    cpu_s = _cpu_s() - cpu_s
    for engine in engines:
        engine.close()
    connections.close()
    _report(logs, printed_s, home_s, cpu_s, [host.ssh_connections() for host in bed.hosts])


def _report(
    logs: list[Path], printed_s: float, home_s: float, cpu_s: float, logins: list[int]
) -> None:
    total_mb = HOSTS * LINES * LINE_BYTES / 1e6
    lost, repeated, torn = map(sum, zip(*map(_faults, logs), strict=True))
    drops = len(DROPS_AT_S) * HOSTS
    rate = total_mb / printed_s
    say(f"{HOSTS} containers print", f"{rate:.1f} MB/s", f"{MB_PER_S}", rate > 0.9 * MB_PER_S)
    say("connections dropped", f"{drops}", f"{drops}", sum(logins) == HOSTS + drops)
    say("lines lost", f"{lost} of {HOSTS * LINES}", "0", lost == 0)
    say("lines repeated", f"{repeated}", "0", repeated == 0)
    say("lines torn", f"{torn}", "0", torn == 0)
    behind_s = home_s - printed_s
    say("home after the last container's end", f"{behind_s:.1f} s", "< 10 s", behind_s < 10)
    per_mb = cpu_s / total_mb
    say("the launcher's processor time", f"{per_mb * 1000:.1f} ms/MB", "< 50 ms", per_mb < 0.05)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _faults(log: Path) -> tuple[int, int, int]:
    """Return how many numbered lines are missing, are there again, or are not as printed."""
    seen = bytearray(LINES)
    repeated = torn = 0
    with log.open("rb") as lines:
        for line in lines:
            if len(line) != LINE_BYTES or not line[:11].isdigit():
                torn += 1
                continue
            repeated += seen[int(line[:11])]
            seen[int(line[:11])] = 1
    return LINES - sum(seen), repeated, torn


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
