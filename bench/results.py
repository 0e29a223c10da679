"""Results of two hosts on their way home, beside bare SSH channels that move as much.

.venv/bin/python -m bench.results

2 GB in 10,000 files, from two testbed hosts at once; as root, with Docker (see tests/testbed). The
hosts share this machine's cores with the launcher, Docker's packing included, so that the bare
channels, whose hosts have nothing to do, are shown with the same archives too, and
everything with the processor time that a GB costs. Each round collects into new folders, so that
none pays for removing what came before.

A virtual machine pays for memory that its host has yet to give it, here up to 2 s of processor time
for a GB, and of all ways only collecting fills new memory: the disk's cache. On a machine that has
been up for a while that cache fills what memory there is. So most of the free memory is held while
this runs.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import paramiko

from bench.measure import median_ratio, say
from launcher.engine import Engine
from launcher.files.results import collect
from launcher.ssh import Connections, Target
from tests.testbed import Testbed
from tests.testbed.host import Host

FILES = 5000  # a host
FILE_BYTES = 200_000
HOST_BYTES = FILES * FILE_BYTES
RUNS = 3
FREE_BYTES = 2 * 1024**3
READ_BYTES = 1 << 20
_OWN, _CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
BUSYBOX = "launch-testbed/busybox:1"
OUTPUT = "/data/output"
ZEROS = f"head -c {HOST_BYTES} /dev/zero"


class Source(NamedTuple):
    """A host with results."""

    host: Host
    engine: Engine
    container: str
    bare: paramiko.Transport


def main() -> None:
    """Print the table."""
    os.environ.setdefault("LAUNCH_TESTBED", "res")
    bed = Testbed.up(2)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            _sources(bed, Path(folder)) as sources,
            _full_memory(),
        ):
            measure(bed, sources, Path(folder))
    finally:
        bed.down()


def measure(bed: Testbed, sources: list[Source], folder: Path) -> None:
    """Move everything in every way in turn, so that a ratio is of one round."""
    home = folder

    def collected(source: Source) -> int:
        got = collect(
            source.engine, source.container, OUTPUT, home / source.host.name,
            on_progress=lambda _: None, is_cancelled=lambda: False,
        )  # fmt: skip
        assert (got.files, got.size_bytes, got.skipped) == (FILES, HOST_BYTES, ())
        return got.size_bytes

    ways: dict[str, Callable[[Source], int]] = {
        "a bare paramiko channel": _bare,
        "OpenSSH's ssh": lambda source: _openssh(bed, source),
        "paramiko, Docker's archives thrown away": _archive,
        "collect": collected,
    }
    mbs: dict[str, list[float]] = {name: [] for name in ways}
    spent: dict[str, list[_Spent]] = {name: [] for name in ways}
    peak = _PeakMemory()
    for number in range(RUNS):
        home = folder / f"output-{number}"
        for name, way in ways.items():
            before = _Spent.so_far(sources)
            mbs[name].append(_together(sources, way))
            spent[name].append(_Spent.so_far(sources) - before)
    _print(mbs, spent, len(sources) * HOST_BYTES / 1e9)
    mb = peak.bytes / 1e6
    say("resident memory, with its unpacking processes", f"{mb:.0f} MB", "< 200 MB", mb < 200)


def _print(mbs: dict[str, list[float]], spent: "dict[str, list[_Spent]]", size_gb: float) -> None:
    for name, values in mbs.items():
        print(f"{name:<58} {statistics.median(values):>17.0f} MB/s")
        print(f"    {_Spent.median(spent[name]).per_gb(size_gb)}")
    ratio = median_ratio(mbs["collect"], mbs["a bare paramiko channel"])
    say("collect / a bare paramiko channel", f"{ratio:.2f}", ">= 0.8", ratio >= 0.8)


def _together(sources: list[Source], way: Callable[[Source], int]) -> float:
    """Return the MB/s at which all hosts' bytes come, at once."""
    started = time.perf_counter()
    with ThreadPoolExecutor(len(sources)) as pool:
        total_bytes = sum(pool.map(way, sources))
    return total_bytes / (time.perf_counter() - started) / 1e6


def _bare(source: Source) -> int:
    with closing(source.bare.open_session()) as channel:
        channel.exec_command(ZEROS)
        return _drain(channel.recv)


def _openssh(bed: Testbed, source: Source) -> int:
    command = ["ssh", "-F", str(bed.ssh_config), source.host.name, ZEROS]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return HOST_BYTES


def _archive(source: Source) -> int:
    path = f"/containers/{source.container}/archive?path={OUTPUT}/."
    with closing(source.engine.get(path, unchunked=True)) as answer:
        return _drain(answer.raw.read1)


def _drain(read: Callable[[int], bytes]) -> int:
    total_bytes = 0
    while data := read(READ_BYTES):
        total_bytes += len(data)
    return total_bytes


class _Spent(NamedTuple):
    """Processor time, in seconds, by who spent it; not sshd's for a connection that has ended."""

    launcher: float
    its_children: float
    sshd: float
    dockerd: float

    @classmethod
    def so_far(cls, sources: list[Source]) -> Self:
        own, children = (resource.getrusage(who) for who in (_OWN, _CHILDREN))
        hosts = {
            _network_of(f"{s.host.machine.holder.pid}") for s in sources if s.host.machine.holder
        }
        seconds = {"sshd": 0.0, "dockerd": 0.0}
        for process in Path("/proc").glob("[0-9]*"):
            name, _, fields = _text(process / "stat").partition("(")[2].rpartition(")")
            kind = name.partition("-")[0]
            if kind in seconds and _network_of(process.name) in hosts:
                seconds[kind] += sum(map(int, fields.split()[11:15])) / os.sysconf("SC_CLK_TCK")
        return cls(
            own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime,
            seconds["sshd"], seconds["dockerd"],
        )  # fmt: skip

    @classmethod
    def median(cls, rounds: list[Self]) -> Self:
        return cls(*(statistics.median(column) for column in zip(*rounds, strict=True)))

    def __sub__(self, earlier: Self) -> Self:
        return type(self)(*(a - b for a, b in zip(self, earlier, strict=True)))

    def per_gb(self, size_gb: float) -> str:
        shares = zip(self._fields, self, strict=True)
        each = ", ".join(f"{name.replace('_', ' ')} {s / size_gb:.1f}" for name, s in shares if s)
        return f"processor s per GB: {sum(self) / size_gb:.1f} ({each})"


def _network_of(pid: str) -> int:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0  # it has ended meanwhile


@contextmanager
def _full_memory() -> Iterator[None]:
    """Hold the free memory of this machine but for a part, as the disk's cache does in time."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    held_bytes = max(0, int(fields["MemFree"].split()[0]) * 1024 - FREE_BYTES)
    hold = f"held = b'x' * {held_bytes}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


class _PeakMemory:
    """Watches the resident memory of this process and its children from now on."""

    def __init__(self) -> None:
        self.bytes = 0
        self._not_ours = set(self._processes()) - {"self"}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, sum(map(self._of, self._ours())))
            time.sleep(0.1)

    def _ours(self) -> list[str]:
        return [pid for pid in self._processes() if pid not in self._not_ours]

    @staticmethod
    def _processes() -> list[str]:
        tasks = Path("/proc/self/task").iterdir()
        children = [child for task in tasks for child in _text(task / "children").split()]
        return ["self", *children]

    @staticmethod
    def _of(pid: str) -> int:
        pages = _text(Path(f"/proc/{pid}/statm")).split()[1:2]
        return int(pages[0]) * os.sysconf("SC_PAGESIZE") if pages else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended meanwhile


@contextmanager
def _sources(bed: Testbed, folder: Path) -> Iterator[list[Source]]:
    """Every host, with results on it."""
    bed.environ(folder / "home")
    with closing(Connections(home=folder / "home")) as connections:
        made = []
        for host in bed.hosts:
            engine = Engine(host.name, connections.of(Target(host.name, host.name)).open_socket)
            container = _filled(host, engine)
            made.append(Source(host, engine, container, _bare_transport(bed, host)))
        yield made
        for source in made:
            source.bare.close()
            source.engine.close()


def _bare_transport(bed: Testbed, host: Host) -> paramiko.Transport:
    """Return what plain paramiko connects, with all of its defaults."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(bed.known_hosts))
    client.connect(host.address, username="ml", key_filename=str(bed.client_key))
    transport = client.get_transport()
    assert transport
    return transport


def _filled(host: Host, engine: Engine) -> str:
    mount = {"Type": "volume", "Source": "results", "Target": OUTPUT}
    config = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": {"Mounts": [mount]}}
    made: dict[str, str] = engine.api.create_container_from_config(config)
    inside = engine.api.inspect_volume("results")["Mountpoint"]
    volume = Path(f"{host.root}{inside}")
    for number in range(FILES):
        path = volume / f"epoch-{number // 500}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))
    return made["Id"]


if __name__ == "__main__":
    main()
