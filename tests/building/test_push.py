"""Images pushed to a real registry that wants a login."""

import base64
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.building import repository
from launcher.building.events import Event, Layer
from launcher.building.push import push, tags
from launcher.building.registry import remedy
from launcher.engine import Engine
from launcher.errors import HostError, InputError
from tests.building.conftest import PASSWORD, USER, Registry, again
from tests.building.places import BUSYBOX
from tests.conftest import Launching

pytestmark = pytest.mark.testbed
STAMP = "20260203_040506"


@pytest.fixture
def image(engine: Engine, registry: Registry) -> Iterator[str]:
    """The name of an image in the registry's name, with the tags of two builds."""
    name = f"{registry.address}/lab/mnist"
    for tag in ("20250101_000000", STAMP, "latest", "by_hand"):
        engine.api.tag(BUSYBOX, name, tag)
    try:
        yield name
    finally:
        for tag in ("20250101_000000", STAMP, "latest", "by_hand"):
            engine.api.remove_image(f"{name}:{tag}")


def stored(registry: Registry, tag: str) -> str:
    """Return the digest that the registry has for a tag."""
    request = urllib.request.Request(f"http://{registry.address}/v2/lab/mnist/manifests/{tag}")
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    request.add_header("Accept", "application/vnd.docker.distribution.manifest.v2+json")
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def test_what_is_pushed(engine: Engine, image: str) -> None:
    """A name alone means the newest build's tag and, after it, latest."""
    names = [str(name) for name in tags(engine, repository.parse(image))]
    assert names == [f"{image}:{STAMP}", f"{image}:latest"]
    (only,) = tags(engine, repository.parse(f"{image}:by_hand"))
    assert str(only) == f"{image}:by_hand"


def test_push(engine: Engine, image: str, registry: Registry) -> None:
    """The registry has the tag under the digest that is said; the layers were told of."""
    registry.log_in()
    events: list[Event] = []
    pushed = push(again(engine), repository.parse(f"{image}:{STAMP}"), events.append)
    assert pushed.digest == stored(registry, STAMP)
    layers = [event for event in events if isinstance(event, Layer)]
    assert layers[-1].status == "Pushed"


@pytest.mark.parametrize("password", [None, "wrong"])
def test_not_logged_in(
    engine: Engine, image: str, registry: Registry, password: str | None
) -> None:
    """Without the right login the command that logs in is named, and no password."""
    if password:
        registry.log_in(password)
    with pytest.raises(HostError) as caught:
        push(again(engine), repository.parse(f"{image}:latest"), lambda _: None)
    assert f"`docker login {registry.address}`" in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_no_such_helper(engine: Engine, image: str, registry: Registry) -> None:
    """A credential helper that is not there is a problem of this machine, with the remedy."""
    registry.login.write_text('{"credsStore": "none-such"}')
    with (
        pytest.warns(UserWarning, match="none-such"),
        pytest.raises(HostError, match="docker-credential-none-such not installed"),
    ):
        push(again(engine), repository.parse(f"{image}:latest"), lambda _: None)


def test_no_registry(engine: Engine, image: str) -> None:
    """A registry that does not answer is named."""
    engine.api.tag(BUSYBOX, "127.0.0.1:1/lab/mnist", "latest")
    try:
        with pytest.raises(HostError, match=r"connection refused; is 127\.0\.0\.1:1 the registry"):
            push(engine, repository.parse("127.0.0.1:1/lab/mnist:latest"), lambda _: None)
    finally:
        engine.api.remove_image("127.0.0.1:1/lab/mnist:latest")


def test_what_cannot_be_pushed(engine: Engine) -> None:
    """An image that is not here, or that names no registry, is the command line's fault."""
    with pytest.raises(InputError, match=r"lab/none:latest: no such image here"):
        tags(engine, repository.parse("lab/none"))
    with pytest.raises(InputError, match="names no registry"):
        tags(engine, repository.parse("mnist:v1"))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("denied: requested access to the resource is denied", "docker login lab:5"),
        ("http: server gave HTTP response to HTTPS client", '"insecure-registries": ["lab:5"]'),
        ("x509: certificate signed by unknown authority", "certs.d/lab:5/ca.crt"),
        ("dial tcp: lookup lab: no such host", "is lab:5 the registry's name"),
        ("the moon is full", ""),
    ],
)
def test_remedies(reason: str, expected: str) -> None:
    """What registries answer comes with what helps."""
    assert expected in remedy("lab:5", reason)


def test_command(launching: Launching, engine: Engine, image: str, registry: Registry) -> None:
    """`launch push` pushes both tags and prints their digests; --json as one value."""
    registry.log_in()
    env = {
        "DOCKER_HOST": f"unix://{engine.path}",
        "DOCKER_CONFIG": os.fspath(registry.login.parent),
    }
    launching.env |= env
    done = launching.run("push", image)
    assert done.code == 0
    digest = stored(registry, "latest")
    lines = [line for line in done.out.splitlines() if line.startswith(image)]
    assert lines == [f"{image}:{STAMP} {digest}", f"{image}:latest {digest}"]
    value = json.loads(launching.run("push", "--json", image).out)
    assert [pushed["digest"] for pushed in value["pushed"]] == [digest, digest]


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["Lab/Mnist"], 2, "did you mean 'lab/mnist'?"),
        (["mnist"], 2, "names no registry"),
        (["lab/mnist@sha256:" + "0" * 64], 2, "got the digest"),
        ([], 2, "required: NAME[:TAG]"),
    ],
)
def test_wrong_words(
    launching: Launching, engine: Engine, words: list[str], code: int, expected: str
) -> None:
    """A wrong command line is answered with what was expected."""
    launching.env["DOCKER_HOST"] = f"unix://{engine.path}"
    done = launching.run("push", *words)
    assert done.code == code
    assert expected in done.err


def test_without_the_extra(launching: Launching, tmp_path: Path) -> None:
    """Without the Docker SDK both commands say what to install."""
    hidden = "raise ModuleNotFoundError(\"No module named 'docker'\", name='docker')\n"
    launching.write("hiding/docker/__init__.py", hidden)
    launching.env["PYTHONPATH"] = str(launching.folder / "hiding")
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    for words in (["build"], ["push", "lab/mnist"]):
        done = launching.run(*words)
        assert done.code == 3
        assert "docker is missing" in done.err
        assert done.err.endswith("pip install 'tf-config-launch[docker]'\n")
