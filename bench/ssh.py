"""One SSH connection: what it costs, what it carries, and two hundred of them at once.

.venv/bin/python -m bench.ssh

Starts an sshd of default limits on loopback, as whoever runs this. The reference is OpenSSH's own
client against the same sshd in the same run.
"""

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launcher.errors import HostError
from launcher.ssh import Connection, Connections, Target
from tests.ssh.servers import Client, Sshd, http_on

BULK_BYTES = 500_000_000
HOSTS = 200
RUNS = 11


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, quiet_home(Path(name)) as client:
        sshd = Sshd(Path(name) / "sshd", client)
        bastion = Sshd(Path(name) / "bastion", client)
        try:
            client.trust("key", sshd.keys[0])
            client.trust("jump-key", bastion.keys[0])
            one_connection(client, sshd, Path(name))
            many(client, sshd, bastion)
        finally:
            sshd.stop()
            bastion.stop()


@contextlib.contextmanager
def quiet_home(folder: Path) -> Iterator[Client]:
    """A user of nothing but a new key."""
    before = dict(os.environ)
    client = Client(folder / "home")
    os.environ["HOME"] = str(client.home)
    os.environ.pop("SSH_AUTH_SOCK", None)
    try:
        yield client
    finally:
        os.environ.clear()
        os.environ.update(before)


def entry(name: str, sshd: Sshd, alias: str, more: str = "") -> str:
    return (
        f"Host {name}\n HostName {sshd.address}\n Port {sshd.port}\n HostKeyAlias {alias}\n{more}"
    )


def one_connection(client: Client, sshd: Sshd, folder: Path) -> None:
    """Print what connecting, opening a socket and moving bytes take."""
    client.configure(entry("gpu*", sshd, "key"))
    connections = Connections(home=client.home)
    connections.of(Target("gpu", "gpu")).connect()  # paramiko's import is not a connection's
    cold = [seconds(connections.of(Target(f"gpu{i}", f"gpu{i}")).connect) for i in range(RUNS)]
    connection = connections.of(Target("gpu0", "gpu0"))
    with http_on(folder / "engine.sock") as path:
        opened = [seconds(lambda: connection.open_socket(str(path)).close()) for _ in range(RUNS)]
    ours = [BULK_BYTES / 1e6 / seconds(lambda: drain(connection)) for _ in range(3)]
    options = ("LogLevel=ERROR", f"UserKnownHostsFile={client.known_hosts}")
    given = [word for option in options for word in ("-o", option)]
    ssh = ["ssh", "-F", str(client.ssh / "config"), *given, "-i", str(client.key), "gpu"]
    ssh_cold = [seconds(lambda: call([*ssh, "true"])) for _ in range(RUNS)]
    command = [*ssh, f"head -c {BULK_BYTES} /dev/zero"]
    theirs = [BULK_BYTES / 1e6 / seconds(lambda: call(command)) for _ in range(3)]
    connections.close()
    print(f"connect, logged in: {median_ms(cold)} (ssh HOST true: {median_ms(ssh_cold)})")
    print(f"open_socket: {median_ms(opened)}")
    print(
        f"host to here, {BULK_BYTES / 1e6:.0f} MB: {statistics.median(ours):.0f} MB/s "
        f"(OpenSSH's ssh: {statistics.median(theirs):.0f} MB/s)"
    )


def many(client: Client, sshd: Sshd, bastion: Sshd) -> None:
    """Print how 200 hosts at once fare, without and behind a jump host."""
    for name, config in {
        "direct": entry("gpu*", sshd, "key"),
        "behind a jump host": entry("gpu*", sshd, "key", " ProxyJump bastion\n")
        + entry("bastion", bastion, "jump-key"),
    }.items():
        client.configure(config)
        connections = Connections(home=client.home)
        failed: list[HostError] = []

        def connect(i: int, to: Connections = connections, into: list[HostError] = failed) -> None:
            try:
                to.of(Target(f"gpu{i}", f"gpu{i}")).connect()
            except HostError as error:
                into.append(error)

        began_at = time.perf_counter()
        with ThreadPoolExecutor(HOSTS) as pool:
            list(pool.map(connect, range(HOSTS)))
        took_s = time.perf_counter() - began_at
        print(f"{HOSTS} hosts at once, {name}: {len(failed)} failed, {took_s:.1f} s")
        connections.close()


def drain(connection: Connection) -> None:
    """Read BULK_BYTES from a command on the host, as OpenSSH's client does beside it."""
    channel = connection.transport().open_session()
    channel.exec_command(f"head -c {BULK_BYTES} /dev/zero")
    while channel.recv(1 << 20):
        pass
    channel.close()


def call(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def seconds(do: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    do()
    return time.perf_counter() - began_at


def median_ms(took_s: list[float]) -> str:
    return f"{statistics.median(took_s) * 1000:.1f} ms"


if __name__ == "__main__":
    main()
