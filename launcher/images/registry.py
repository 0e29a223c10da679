"""A registry for one push: the half of the OCI distribution API that an engine pushes with.

It listens on this machine's loopback while the engine here hands layers out, asks for credentials
made for that push, and puts what comes into the layer cache. Which layers the engine may skip is
the caller's to say. It serves nothing to pull.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from launcher.images.cache import LayerCache, Upload
from launcher.images.identity import REPOSITORY

_USER = "launch"
_PART_BYTES = 256 << 10

Answer = Callable[[str], int | None]  #: digest of a blob → its size if the engine may skip it


class Registry:
    """Listens while it is entered.

    manifests: what was pushed, in order.
    problem: why an upload could not be stored, if that happened.
    was_reached: whether anybody with the login came.
    """

    def __init__(self, cache: LayerCache, answer: Answer) -> None:
        self.cache = cache
        self.answer = answer
        self.manifests: list[bytes] = []
        self.problem = ""
        self.was_reached = False
        self.uploads: dict[str, Upload] = {}
        self._password = secrets.token_urlsafe(24)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self

    @property
    def name(self) -> str:
        """The repository to push to, `127.0.0.1:PORT/launch`."""
        return f"127.0.0.1:{self._server.server_address[1]}/{REPOSITORY}"

    @property
    def login(self) -> dict[str, str]:
        """What to log in with, as the SDK takes it."""
        return {"username": _USER, "password": self._password}

    def knows(self, authorization: str) -> bool:
        """Whether a request's Authorization is the login."""
        expected = base64.b64encode(f"{_USER}:{self._password}".encode()).decode()
        return hmac.compare_digest(authorization.encode(), f"Basic {expected}".encode())

    def __enter__(self) -> "Registry":
        serve = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="registry", daemon=True
        )
        serve.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for upload in self.uploads.values():
            upload.close()


class _Server(ThreadingHTTPServer):
    registry: Registry
    daemon_threads = True
    block_on_close = False  # the engine may keep a connection open for long

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: what breaks a push is said by the engine that pushes."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing, credentials pass here."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def parse_request(self) -> bool:
        """Let only the run's own login through."""
        if not super().parse_request():
            return False
        if self._registry.knows(self.headers.get("Authorization", "")):
            self._registry.was_reached = True
            return True
        self.close_connection = True
        self._say(401, ("WWW-Authenticate", 'Basic realm="launch"'), ("Connection", "close"))
        return False

    @property
    def _registry(self) -> Registry:
        return self.server.registry

    def do_GET(self) -> None:
        self._say(200 if urlsplit(self.path).path == "/v2/" else 404)

    def do_HEAD(self) -> None:
        kind, name = self._target()
        try:
            size_bytes = self._registry.answer(name) if kind == "blobs" else None
        except ValueError:
            size_bytes = None
        if size_bytes is None:
            self._say(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(size_bytes))
        self.send_header("Docker-Content-Digest", name)
        self.end_headers()

    def do_POST(self) -> None:
        self._discard_body()
        name = secrets.token_hex(16)
        self._registry.uploads[name] = self._registry.cache.upload()
        self._accept(name, 0)

    def do_PATCH(self) -> None:
        _, name = self._target()
        upload = self._registry.uploads.get(name)
        if upload is None:
            self._refuse(404)
        elif self._store(upload):
            self._accept(name, upload.size_bytes)

    def do_PUT(self) -> None:
        kind, name = self._target()
        if kind == "manifests":
            self._take_manifest()
            return
        upload = self._registry.uploads.get(name)
        digest = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
        if upload is None:
            self._refuse(404)
        elif self._store(upload):
            try:
                upload.finish(digest)
            except (OSError, ValueError) as error:
                self._fail(error)
                return
            self._say(201, ("Docker-Content-Digest", digest))

    def _take_manifest(self) -> None:
        content = b"".join(self._body())
        self._registry.manifests.append(content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._say(201, ("Docker-Content-Digest", digest))

    def do_DELETE(self) -> None:
        upload = self._registry.uploads.get(self._target()[1])
        if upload is not None:
            upload.close()
        self._say(204)

    def _target(self) -> tuple[str, str]:
        """Return (`blobs` or `manifests` or `uploads`, the last part of the path)."""
        parts = urlsplit(self.path).path.split("/")
        return (parts[-2], parts[-1]) if len(parts) > 2 else ("", "")

    def _store(self, upload: Upload) -> bool:
        try:
            for part in self._body():
                upload.write(part)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            self._fail(error)
            return False
        return True

    def _fail(self, error: Exception) -> None:
        what = error.strerror if isinstance(error, OSError) else None
        self._registry.problem = what or str(error)
        self._refuse(507)

    def _refuse(self, status: int) -> None:
        self.close_connection = True  # the rest of the body stays unread
        self._say(status, ("Connection", "close"))

    def _accept(self, name: str, size_bytes: int) -> None:
        self._say(
            202,
            ("Location", f"/v2/{REPOSITORY}/blobs/uploads/{name}"),
            ("Docker-Upload-UUID", name),
            ("Range", f"0-{max(0, size_bytes - 1)}"),
        )

    def _say(self, status: int, *headers: tuple[str, str]) -> None:
        body = b"" if status < 400 or self.command == "HEAD" else _error(status)
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _discard_body(self) -> None:
        for _ in self._body():
            pass

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size_bytes := int(self.rfile.readline().split(b";")[0], 16):
                yield from self._read(size_bytes)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self._read(int(self.headers.get("Content-Length") or 0))

    def _read(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            part = self.rfile.read(min(size_bytes, _PART_BYTES))
            if not part:
                raise ConnectionResetError
            size_bytes -= len(part)
            yield part


def _error(status: int) -> bytes:
    code = {401: "UNAUTHORIZED", 404: "NOT_FOUND"}.get(status, "UNKNOWN")
    return json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
