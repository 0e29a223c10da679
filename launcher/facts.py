"""What planning must know before it can decide: this machine's free ports and GPUs, a run's id.

Imported before every plan is shown, so what only some plans need is imported where it is used.
"""

import _socket as socket  # the C layer suffices, and `socket` costs a fifth of a start more
import errno
import os
import time
from collections.abc import Iterable

from launcher.errors import HostError
from launcher.names import as_name
from launcher.placement import HostFacts

# Below the range from which Linux hands out ports for outgoing connections by default
# (net.ipv4.ip_local_port_range), so that no connection of a task takes a port before its server.
_PORTS = range(20000, 32000)


def read_facts(ports: int, *, gpus: bool) -> HostFacts:
    """Return what planning must know of this machine: `ports` free ports, and its GPUs if asked."""
    return HostFacts(tuple(_free_ports(ports)), gpu_ids() if gpus else ())


def _free_ports(count: int) -> Iterable[int]:
    """Return ports that nobody listens on, from a random start: two runs begin far apart."""
    start = int.from_bytes(os.urandom(4), "big")
    order = (_PORTS[(start + step) % len(_PORTS)] for step in range(len(_PORTS)))
    found: list[int] = []
    while len(found) < count:
        port = next(order, None)
        if port is None:
            raise HostError(f"this machine has no {count} free ports in {_PORTS}")
        if port_is_free(port):
            found.append(port)
    return found


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port`, on every address of this machine."""
    ipv6_only = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if not _can_bind(socket.AF_INET, "0.0.0.0", port):  # noqa: S104 - as TensorFlow's servers do
        return False
    return _can_bind(socket.AF_INET6, "::", port, ipv6_only)


def _can_bind(family: int, address: str, port: int, *options: tuple[int, int, int]) -> bool:
    """Whether nobody holds the port in an address family; one that is absent holds nothing."""
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return True
    try:
        for option in ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), *options):
            probe.setsockopt(*option)
        probe.bind((address, port))
    except OSError as error:
        return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    finally:
        probe.close()
    return True


def gpu_ids() -> tuple[str, ...]:
    """Return the ids of this machine's NVIDIA GPUs; none when nvidia-smi is not there.

    Of a shared machine $CUDA_VISIBLE_DEVICES says which of them the user may take (as Slurm does).
    Those that other runs hold come last.
    """
    listed = _nvidia_smi("index")
    if not listed:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = [i.strip() for i in (listed if visible is None else visible.split(","))]
    held = _held_names()
    ids.sort(key=lambda i: f"@launch-gpu-{i}" in held)
    return tuple(i for i in ids if i not in ("", "-1", "NoDevFiles"))


def gpu_numbers() -> dict[str, str]:
    """Return the number of each of this machine's GPUs by its UUID."""
    rows = (line.partition(",") for line in _nvidia_smi("index,uuid"))
    return {uuid.strip(): number.strip() for number, _, uuid in rows}


def _nvidia_smi(fields: str) -> list[str]:
    import subprocess

    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return listed.stdout.splitlines()


def _held_names() -> frozenset[str]:
    """Return the names of this machine's Unix sockets: a run holds GPUs by such (see `claims`)."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
            return frozenset(line.split()[-1] for line in file if line.strip())
    except OSError:
        return frozenset()


def new_run_id(name: str) -> str:
    """Return `NAME-YYYYMMDD-HHMMSS-xxxx` (UTC): sorts by time, unique among many launchers."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return f"{as_name(name, 'run')}-{stamp}-{os.urandom(2).hex()}"
