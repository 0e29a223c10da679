"""A Docker of this machine's own to build on, and a registry to push to."""

import base64
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import NamedTuple

import bcrypt
import pytest

from launcher.engine import Engine, open_local
from tests.building.places import BUSYBOX
from tests.conftest import DEADLINE_S, until
from tests.testbed import Testbed

USER, PASSWORD = "ml", "correct horse"


@pytest.fixture
def engine(testbed: Testbed) -> Iterator[Engine]:
    """This machine's engine; the images that a test makes there are gone afterwards."""
    made = Engine("this machine", open_local, str(testbed.local.docker_socket))
    before = _images(made)
    try:
        yield made
    finally:
        for image in _images(made) - before:
            _remove(made, image)
        made.close()


def again(engine: Engine) -> Engine:
    """Return the same engine for a user whose logins have changed: the SDK reads them once."""
    return Engine(engine.host, open_local, engine.path)


def _images(engine: Engine) -> set[str]:
    return {str(image["Id"]) for image in engine.api.images(all=True)}


def _remove(engine: Engine, image: str) -> None:
    if image in _images(engine):  # else it went with one that stood on it
        children = {i["Id"] for i in engine.api.images(all=True) if i["ParentId"] == image}
        for child in children:
            _remove(engine, child)
        if image in _images(engine):
            engine.api.remove_image(image, force=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose Dockerfile does one small thing on busybox."""
    made = tmp_path / "context"
    made.mkdir()
    (made / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN echo done >/made\n")
    return made


@pytest.fixture
def name() -> str:
    """A name that no other image has."""
    return f"launch-test/{uuid.uuid4().hex[:12]}"


class Registry(NamedTuple):
    """A registry that wants a login."""

    address: str
    login: Path

    def log_in(self, password: str = PASSWORD) -> None:
        """Write the user's Docker configuration, as `docker login` does."""
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        self.login.write_text(json.dumps({"auths": {self.address: {"auth": auth}}}))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A real registry on this machine, and an empty Docker configuration for its user."""
    program = which("docker-registry") or pytest.skip("no docker-registry (Debian's package)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    known = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{known}\n")
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: {address}}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n"
    )
    (tmp_path / "docker").mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", os.fspath(tmp_path / "docker"))
    with open(tmp_path / "registry.log", "wb") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        until(lambda: _answers(address), "the registry")
        yield Registry(address, tmp_path / "docker/config.json")
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/v2/", timeout=DEADLINE_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.code == 401
    except OSError:
        time.sleep(0.02)
        return False
    return True
