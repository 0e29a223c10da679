"""The registry that lives as long as one push."""

import base64
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.images.cache import LayerCache
from launcher.images.registry import Registry

CONTENT = b"a layer" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
HAD = f"sha256:{'b' * 64}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(LayerCache(tmp_path), lambda digest: 3 if digest == HAD else None) as made:
        yield made


class Client:
    """Talks to a registry with the login of the push."""

    def __init__(self, registry: Registry, password: str | None = None) -> None:
        host, port = registry.name.split("/")[0].split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=10)
        login = registry.login
        pair = f"{login['username']}:{password or login['password']}"
        self._login = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def __call__(
        self, method: str, path: str, body: object = None, *, chunked: bool = False
    ) -> http.client.HTTPResponse:
        self._connection.request(
            method,
            path,
            body,  # type: ignore[arg-type]
            headers=self._login | ({"Transfer-Encoding": "chunked"} if chunked else {}),
            encode_chunked=chunked,
        )
        answer = self._connection.getresponse()
        answer.read()
        return answer

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def client(registry: Registry) -> Iterator[Client]:
    made = Client(registry)
    yield made
    made.close()


def location(client: Client) -> str:
    answer = client("POST", "/v2/launch/blobs/uploads/")
    assert answer.status == 202
    return str(answer.headers["Location"])


def test_a_layer_sent_in_chunks_is_in_the_cache(registry: Registry, client: Client) -> None:
    """POST, PATCH in chunks and PUT, as engines push: the blob is whole afterwards."""
    upload = location(client)
    patched = client("PATCH", upload, iter([CONTENT[:100], CONTENT[100:]]), chunked=True)
    assert patched.status == 202 and patched.headers["Range"] == f"0-{len(CONTENT) - 1}"
    assert client("PUT", f"{upload}?digest={DIGEST}").status == 201
    blob = registry.cache.blob(DIGEST)
    assert blob is not None and blob.path.read_bytes() == CONTENT


def test_what_differs_from_its_digest_is_refused(registry: Registry, client: Client) -> None:
    """A blob that is not what it says does not enter the cache, and the reason is kept."""
    assert client("PUT", f"{location(client)}?digest={HAD}", CONTENT).status == 507
    assert registry.cache.blob(HAD) is None
    assert "expected sha256:b" in registry.problem


def test_it_claims_what_it_is_told_to_claim(client: Client) -> None:
    """HEAD says what may be skipped, and for anything else that it is not there."""
    answer = client("HEAD", f"/v2/launch/blobs/{HAD}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "3")
    assert client("HEAD", f"/v2/launch/blobs/{DIGEST}").status == 404
    assert client("HEAD", "/v2/launch/manifests/tag").status == 404


def test_a_manifest_is_kept_as_it_was(registry: Registry, client: Client) -> None:
    """The manifest of the push can be read, and the engine gets the digest it expects."""
    manifest = json.dumps({"layers": []}).encode()
    answer = client("PUT", "/v2/launch/manifests/tag", manifest)
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert registry.manifests == [manifest]


def test_nobody_else_may_push(registry: Registry) -> None:
    """Without the login made for this push every request is refused."""
    stranger = Client(registry, password="guessed")
    try:
        assert stranger("POST", "/v2/launch/blobs/uploads/").status == 401
    finally:
        stranger.close()
    assert not registry.was_reached


def test_it_gives_nothing_away(registry: Registry, client: Client) -> None:
    """There is nothing to pull, also for who has the login."""
    digest = registry.cache.put(b"secret")
    assert client("GET", f"/v2/launch/blobs/{digest}").status == 404


def test_nothing_listens_afterwards(tmp_path: Path) -> None:
    """Its port is closed when the push has ended, and no upload is left."""
    cache = LayerCache(tmp_path)
    with Registry(cache, lambda _: None) as registry:
        port = int(registry.name.split("/")[0].rpartition(":")[2])
        client = Client(registry)
        location(client)
        client.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not list((cache.folder / "uploads").iterdir())
