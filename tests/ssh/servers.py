"""Real servers for these tests: sshd as whoever runs the tests, and an HTTP server on a socket."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SSHD = "/usr/sbin/sshd"
DEADLINE_S = 20.0


def wait_for(is_true: Callable[[], object], what: str) -> None:
    """Return when a condition holds; fail when it does not in time."""
    give_up_at = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < give_up_at, f"not in time: {what}"
        time.sleep(0.01)


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair at `path` and return it."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path), "-a", "4"]
    subprocess.run(command, check=True)
    return path


def public(key: Path) -> str:
    """Return the type and public part of a key, as in known_hosts."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


class Client:
    """A user's home with a key and an empty known_hosts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ssh = home / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        self.key = new_key(self.ssh / "id_ed25519")
        self.known_hosts = self.ssh / "known_hosts"
        self.user = getpass.getuser()

    def configure(self, text: str) -> None:
        """Write ~/.ssh/config."""
        (self.ssh / "config").write_text(text)

    def trust(self, name: str, key: Path) -> None:
        """Add a host's key to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"{name} {public(key)}\n")


class Sshd:
    """An sshd on loopback with the default limits, that lets `client` in."""

    def __init__(
        self,
        folder: Path,
        client: Client,
        *settings: str,
        address: str = "127.0.0.1",
        key_kinds: tuple[str, ...] = ("ed25519",),
        env: str = "",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.address = folder, address
        self.port = free_port(address)
        self.keys = [new_key(folder / f"host_{kind}", kind) for kind in key_kinds]
        self.log = folder / "log"
        authorized = folder / "authorized_keys"
        authorized.write_text(Path(f"{client.key}.pub").read_text())
        lines = (
            f"Port {self.port}",
            f"ListenAddress {address}",
            *(f"HostKey {key}" for key in self.keys),
            f"AuthorizedKeysFile {authorized}",
            f"PidFile {folder / 'pid'}",
            "StrictModes no",
            "UsePAM no",
            "LogLevel VERBOSE",
            # bash reads ~/.bashrc for sshd, unless it is below another shell; what the user's does
            # may be slow, and take locks that a test which kills sessions would leave.
            f"SetEnv SHLVL=2 {env}".rstrip(),
            *settings,
        )
        (folder / "config").write_text("\n".join(lines) + "\n")
        self.start()

    @property
    def known_as(self) -> str:
        return f"[{self.address}]:{self.port}"

    def start(self) -> None:
        with contextlib.suppress(OSError):
            os.makedirs("/run/sshd", exist_ok=True)  # where root's sshd separates privileges
        self.process = subprocess.Popen(
            [SSHD, "-D", "-f", str(self.folder / "config"), "-E", str(self.log)],
            stdin=subprocess.DEVNULL,
        )
        wait_for(self.listens, "sshd listens")

    def listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
            return True
        return False

    def logins(self) -> int:
        return self.log.read_text().count("Accepted publickey")

    def drop_connections(self) -> None:
        """Kill the processes that serve connections, not the one that listens."""
        for pid in children(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.drop_connections()
        self.process.kill()
        self.process.wait()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, listed) for each in (*children(child), child)]


def free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """Answers `/bytes/N` with N bytes, and `/version` as an engine does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.path.rpartition("/")[2]) if "/bytes/" in self.path else 0
        body = b'{"ApiVersion": "1.41", "Version": "20.10"}' if not size else b"x" * size
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        body = str(len(self.rfile.read(size))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@contextlib.contextmanager
def http_on(path: Path) -> Iterator[Path]:
    """Serve HTTP on a Unix socket: what stands for a Docker Engine."""
    with _Server(str(path), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()


class Relay:
    """A network between here and a port, which can be cut without a word."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._whole = threading.Event()
        self._whole.set()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Carry nothing any more, and tell nobody."""
        self._whole.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._carry, args=pair))
                    self._threads[-1].start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._whole.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)


def is_there() -> bool:
    """Whether this machine has what these tests start."""
    return os.path.exists(SSHD) and shutil.which("ssh-keygen") is not None
