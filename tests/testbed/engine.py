"""The Docker Engine of one machine: a dockerd with a data-root of its own."""

import http.client
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.testbed.commands import TestbedError, run, until
from tests.testbed.machine import PATH, Machine

READY_S = 60.0
_LOG = "/run/dockerd.log"


class _Http(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=READY_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class Holdings(NamedTuple):
    """What an engine holds: ids of containers and networks, names of volumes and images."""

    containers: frozenset[str]
    volumes: frozenset[str]
    networks: frozenset[str]
    images: frozenset[str]


class Engine:
    """A dockerd inside `machine`; `data_root` is where it lies inside that machine."""

    def __init__(self, machine: Machine, cgroup: str, data_root: str,
                 options: Iterable[str] = ()) -> None:  # fmt: skip
        self._machine = machine
        self._cgroup = cgroup
        self._data_root = data_root
        self._options = tuple(options)

    @property
    def docker_socket(self) -> Path:
        """The socket, as the machine outside sees it."""
        return self._machine.run_folder / "docker.sock"

    @property
    def docker_host(self) -> str:
        """The value of DOCKER_HOST that means this engine."""
        return f"unix://{self.docker_socket}"

    @property
    def answers(self) -> bool:
        """Whether the engine answers on its socket."""
        try:
            return bool(self.request("GET", "/_ping") == "OK")
        except (OSError, TestbedError):
            return False

    def start(self) -> None:
        """Start dockerd, without waiting for it: see `await_ready`."""
        options = ["--data-root", self._data_root, "--exec-root", "/run/docker",
                   "--pidfile", "/run/docker.pid", "--host", "unix:///run/docker.sock",
                   "--group", "docker", "--storage-driver", "overlay2",
                   "--exec-opt", "native.cgroupdriver=cgroupfs",
                   "--cgroup-parent", self._cgroup]  # fmt: skip
        self._machine.daemon(["dockerd", *options, *self._options], _LOG)

    def await_ready(self) -> None:
        """Return when the engine answers. Raises TestbedError with the end of its log."""
        try:
            until(lambda: self.answers, f"dockerd on {self._machine.name}", READY_S)
        except TestbedError as error:
            raise TestbedError(f"{error}\n{self.log()[-2000:]}") from None

    def stop(self, signal: str = "TERM") -> None:
        """End dockerd and wait for that; KILL leaves containers and containerd as they are."""
        self._machine.exec("pkill", f"-{signal}", "-x", "dockerd", check=False)
        gone = ("pgrep", "-x", "dockerd")
        until(
            lambda: self._machine.exec(*gone, check=False).returncode != 0,
            "dockerd to end",
            READY_S,
        )

    def log(self) -> str:
        """Return what dockerd has printed since the machine was booted."""
        return (self._machine.run_folder / "dockerd.log").read_text()

    def docker(self, *argv: str | Path, check: bool = True, stdin: str | None = None,
               deadline_s: float = 120.0) -> str:  # fmt: skip
        """Return what a `docker` command on this engine printed, without its last line end.

        Raises:
            TestbedError: it failed (unless `check` is False), or did not end in time.
        """
        # This PATH, as a machine may have another docker in front of Debian's.
        words = ("env", f"PATH={PATH}", "docker", "--host", self.docker_host, *argv)
        done = run(*words, check=check, stdin=stdin, deadline_s=deadline_s)
        return done.stdout.removesuffix("\n")

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Return the engine's answer to a call of its API: JSON where it is, else text."""
        connection = _Http(self.docker_socket)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise TestbedError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text) if text[:1] in ("{", "[") else text

    def holdings(self) -> Holdings:
        """Return what the engine holds now."""
        return Holdings(
            frozenset(c["Id"] for c in self.request("GET", "/containers/json?all=1")),
            frozenset(v["Name"] for v in self.request("GET", "/volumes").get("Volumes") or ()),
            frozenset(
                n["Id"]
                for n in self.request("GET", "/networks")
                if n["Name"] not in ("bridge", "host", "none")  # Docker's own, made at its start
            ),
            frozenset(
                tag or i["Id"]
                for i in self.request("GET", "/images/json")
                for tag in (*(t for t in i["RepoTags"] or () if t != "<none>:<none>"), i["Id"])
            ),
        )

    def remove_since(self, before: Holdings) -> tuple[str, ...]:
        """Remove what has come since `before`; return its names, for a person."""
        came = [
            (kind, name)
            for kind in ("containers", "networks", "volumes", "images")
            for name in sorted(getattr(self.holdings(), kind) - getattr(before, kind))
        ]
        for kind, name in came:
            query = "force=1&v=1" if kind == "containers" else "force=1"
            try:
                self.request("DELETE", f"/{kind}/{quote(name, safe=':/')}?{query}")
            except TestbedError as error:
                if " 404 " not in str(error):  # gone with its container or its last tag
                    raise
        return tuple(f"{kind[:-1]} {name}" for kind, name in came)
