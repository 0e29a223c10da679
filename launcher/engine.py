"""One host's Docker Engine: the Docker SDK, on a socket here or through the host's SSH connection.

There is one code path: an `Engine` behaves alike wherever it runs. What the SDK raises becomes a
HostError that names the host, and what to do where that is known.
"""

import contextlib
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, IncompleteRead
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER

from launcher.errors import HostError
from launcher.lean import without

# The SDK's own way over SSH is not ours, and costs half its import; an engine speaks UTF-8.
with warnings.catch_warnings(), without("paramiko", "chardet", "charset_normalizer"):
    warnings.simplefilter("ignore")
    import requests
    from docker import APIClient
    from docker.errors import APIError, DockerException, create_api_error_from_http_exception
    from docker.transport.basehttpadapter import BaseHTTPAdapter

DEFAULT_SOCKET = "/var/run/docker.sock"
OpenSocket = Callable[[str], Any]  #: path of a Unix socket → what behaves as a socket, connected

_GREETING_S = 10  # for the first answer of all
_TIMEOUT_S = 60  # for an answer to begin or go on; what may take longer sets its own
_CHANNELS = 64  # kept open at once; more are opened when needed
_BASE_URL = "http://docker:80"
_STAT = "X-Docker-Container-Path-Stat"
_REASONS_SHOWN = 300  # characters of an engine's own message
# Of no use to an engine, which would be sent them with every request.
_NEEDLESS = {
    "user-agent": None,
    "accept": "*/*",
    "accept-encoding": None,
    "connection": "keep-alive",
}
_SENT_AT_ONCE_BYTES = 1 << 20  # what is larger is not copied behind its headers


class Engine:
    """One host's Docker Engine.

    host: the host's name, for messages.
    api: the SDK's client, thread-safe as far as calls go; use it inside `errors()`.
    silent_s: says how long nothing has come from its host, whatever was asked of it.
    architecture: its machine's, in Go's words (amd64, arm64); empty where it does not say.
    """

    def __init__(
        self,
        host: str,
        open_socket: OpenSocket,
        path: str = DEFAULT_SOCKET,
        silent_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Reach the engine and agree on an API version.

        Raises:
            HostError: no engine answers there.
        """
        self.host = host
        self.path = path
        self.silent_s = silent_s
        with self.errors("does not answer"):
            self.api, self.architecture = _client(_Adapter(open_socket, path))

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what the SDK raises into a HostError: `gpu1: Docker DOING: why`."""
        try:
            yield
        except APIError as error:
            raise EngineError(self.host, doing, error.explanation or str(error),
                              error.status_code) from None  # fmt: skip
        except (
            DockerException, requests.RequestException, urllib3.exceptions.HTTPError, HTTPException
        ) as error:  # fmt: skip
            raise _as_engine_error(self.host, doing, error) from None
        except OSError as error:
            raise EngineError(self.host, doing, error.strerror or str(error)) from None

    def get(self, path: str, /, *, unchunked: bool = False, **params: str) -> requests.Response:
        """Return the streamed answer to GET `path` (`/containers/ID/logs`), for what the SDK cuts.

        There is no time limit between its parts.

        unchunked: as HTTP/1.0 has it, in parts of any size: an engine sends each log message as a
            chunk of its own, which costs more than the message. An answer that is cut off looks
            like one that has ended then.

        Raises:
            EngineError: the engine refuses, or cannot be reached.
        """
        headers = {"Accept-Encoding": "identity"}
        if unchunked:
            headers["Connection"] = "close"
        with self.errors(f"refuses {path}"):
            url = f"{_BASE_URL}/v{self.api.api_version}{path}"
            answer = self.api.get(
                url, params=params, headers=headers, stream=True, timeout=(_TIMEOUT_S, None)
            )
            try:
                answer.raise_for_status()
            except requests.HTTPError as error:
                create_api_error_from_http_exception(error)
            return answer

    def has(self, container_id: str, path: str) -> bool:
        """Whether there is something at `path` in a container. Raises EngineError."""
        return self.stat(container_id, path) is not None

    def stat(self, container_id: str, path: str) -> str | None:
        """Return what an engine tells of a path, as it does; None for nothing there.

        See files.stat. Raises EngineError.
        """
        with self.errors(f"does not look for {path}"):
            url = f"{_BASE_URL}/v{self.api.api_version}/containers/{container_id}/archive"
            answer = self.api.head(url, params={"path": path}, timeout=_TIMEOUT_S)
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            return str(answer.headers[_STAT])

    def close(self) -> None:
        """Give the connections back."""
        self.api.close()


class EngineError(HostError):
    """An engine could not do what was asked; `status` is HTTP's, None without an answer."""

    def __init__(self, host: str, doing: str, why: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(f"{host}: Docker {doing}: {why.strip()[:_REASONS_SHOWN]}")

    @classmethod
    def of(cls, error: HostError) -> "EngineError":
        """Return it for an engine that cannot be reached, which `error` says in full."""
        told = cls("", "", "")
        told.args = error.args
        return told


def local_socket(environ: dict[str, str] | os._Environ[str]) -> str:
    """Return the path of this machine's Docker socket.

    Raises:
        HostError: $DOCKER_HOST names something that is no Unix socket.
    """
    given = environ.get("DOCKER_HOST", "")
    if given and not given.startswith("unix://"):
        what = "expected unix:///path/to/docker.sock; other machines are reached by `ssh:` in"
        raise HostError(f"$DOCKER_HOST is {given}: {what} cluster.yaml")
    return given.removeprefix("unix://") or DEFAULT_SOCKET


def open_local(path: str) -> socket.socket:
    """Return a stream connected to a Unix socket of this machine."""
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(path)
    except OSError as error:
        stream.close()
        raise OSError(error.errno, _local_problem(error, path)) from None
    return stream


def _local_problem(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no {path}; install Docker, or name its socket in $DOCKER_HOST"
    if isinstance(error, PermissionError):
        return (
            f"{path} may not be used by this user; add yourself to its group "
            "(sudo usermod -aG docker $USER) and log in again"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {path}; start the daemon (sudo systemctl start docker)"
    return f"{path}: {error.strerror}"


def _as_engine_error(host: str, doing: str, error: BaseException) -> EngineError:
    """Return in a user's words what an HTTP library raised, or the connection below it."""
    below = tuple(_layers(error))
    for layer in below:
        if isinstance(layer, HostError):  # it names its host, and what to do
            return EngineError.of(layer)
    return EngineError(host, doing, _reason(below))


def _reason(layers: tuple[BaseException, ...]) -> str:
    for layer in layers:
        if isinstance(layer, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError):
            return (
                "it does not answer any more; is the daemon alive (sudo systemctl status docker)?"
            )
        if isinstance(layer, IncompleteRead | urllib3.exceptions.IncompleteRead):
            return "the connection was cut within its answer"
        if isinstance(layer, OSError) and not isinstance(layer, requests.RequestException):
            return layer.strerror or "the connection was cut before its answer"
    return str(layers[-1]) or type(layers[-1]).__name__


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what lies under it, as an HTTP library wraps them."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        reason = getattr(seen, "reason", None)
        cause = reason if isinstance(reason, BaseException) else None
        seen = cause or inner or seen.__cause__ or seen.__context__


class _Connection(HTTPConnection):
    def __init__(self, open_socket: OpenSocket, path: str) -> None:
        super().__init__("docker", timeout=_TIMEOUT_S)
        self._open = open_socket
        self._path = path
        self._held: list[bytes] | None = None

    def connect(self) -> None:
        try:
            self.sock = self._open(self._path)
        except HostError as error:  # no library below knows it, to wrap it as its own
            raise EngineError.of(error) from None
        self.sock.settimeout(self.timeout)

    def request(self, method: str, url: str, *args: Any, **more: Any) -> None:
        headers = more.get("headers") or {}
        old = headers.get("Connection") == "close"
        self._http_vsn, self._http_vsn_str = (10, "HTTP/1.0") if old else (11, "HTTP/1.1")
        more["headers"] = _needed(headers)
        body = more.get("body")
        if isinstance(body, bytes | str) and len(body) <= _SENT_AT_ONCE_BYTES:
            self._held = []
        try:
            super().request(method, url, *args, **more)
        finally:
            held, self._held = self._held, None
        if held:
            self.send(b"".join(held))

    def send(self, data: Any) -> None:
        """Send it, or keep it until the request is whole: one packet costs less than two."""
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


def _needed(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a request's headers without what HTTP libraries say to any server."""
    found = {
        name: value
        for name, value in headers.items()
        if _NEEDLESS.get(name.lower(), "") not in (None, value)
    }
    return {**found, "User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, open_socket: OpenSocket, path: str) -> None:
        super().__init__("docker", maxsize=_CHANNELS, block=False)
        self._open = open_socket
        self._path = path

    def _new_conn(self) -> _Connection:
        return _Connection(self._open, self._path)


class _Adapter(BaseHTTPAdapter):
    """Sends every request of a client to one engine."""

    def __init__(self, open_socket: OpenSocket, path: str) -> None:
        super().__init__()
        self._pool = _Pool(open_socket, path)

    def get_connection_with_tls_context(self, *_args: Any, **_more: Any) -> _Pool:
        return self._pool

    def request_url(self, request: Any, _proxies: Any) -> str:
        return str(request.path_url)

    def close(self) -> None:
        self._pool.close()


def _client(adapter: _Adapter) -> tuple[APIClient, str]:
    """Return a client that agrees with its engine, and what processors that is on."""
    said: dict[str, Any] = {}

    class Client(APIClient):
        def get_adapter(self, url: str) -> Any:
            return adapter

        def version(self, api_version: bool = True) -> Any:
            said.update(super().version(api_version))
            return dict(said)

    client = Client(base_url=_BASE_URL, version="auto", timeout=_GREETING_S)
    client.timeout = _TIMEOUT_S
    client.trust_env = False  # neither proxies nor ~/.netrc are for an engine's socket
    return client, str(said.get("Arch", ""))
