"""Real engines and images for the tests: this machine's, and two hosts' over SSH."""

import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from launcher.cluster import ImageTransfer
from launcher.engine import Engine, open_local
from launcher.errors import HostError
from launcher.images import Images
from launcher.images.cache import LayerCache
from launcher.ssh import Connections, Target
from launcher.transfer import Progress
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX


class Lab(NamedTuple):
    """The launching machine's engine and cache, and two hosts."""

    bed: Testbed
    here: Engine
    hosts: tuple[Engine, ...]
    cache: LayerCache

    def build(self, name: str, *layers: bytes, base: str = BUSYBOX) -> str:
        """Build an image here, a layer of each content upon the base; return its id."""
        files = {f"layer{at}": content for at, content in enumerate(layers)}
        lines = [f"FROM {base}", "LABEL lab=yes", *(f"COPY {file} /{file}" for file in files)]
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for file, content in {**files, "Dockerfile": "\n".join(lines).encode()}.items():
                member = tarfile.TarInfo(file)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        context.seek(0)
        said = list(
            self.here.api.build(
                fileobj=context, custom_context=True, tag=name, rm=True, decode=True,
                network_mode="none",
            )
        )  # fmt: skip
        assert not any("error" in event for event in said), said
        return str(self.here.api.inspect_image(name)["Id"])

    def images(
        self,
        name: str,
        how: ImageTransfer = ImageTransfer.AUTO,
        *,
        here: Engine | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Images:
        """Return what brings an image from here (or another engine) to hosts."""
        return Images(name, here or self.here, how, on_progress=on_progress,
                      is_cancelled=is_cancelled, cache=self.cache)  # fmt: skip

    def ship(self, name: str, *hosts: Engine) -> list[Progress]:
        """Bring an image to hosts, all at once; return what was shown meanwhile."""
        shown: list[Progress] = []
        images = self.images(name, on_progress=shown.append)
        failed: list[HostError] = []

        def ensure(there: Engine) -> None:
            try:
                assert images.ensure(there) == images.reference()
            except HostError as error:
                failed.append(error)

        threads = [threading.Thread(target=ensure, args=(there,)) for there in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        return shown


def tags(engine: Engine) -> set[str]:
    """Return every name of every image of an engine."""
    return {name for image in engine.api.images() for name in image["RepoTags"] or ()}


@pytest.fixture
def lab(testbed: Testbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name, value in testbed.environ(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    connections = Connections(ask=None)
    local = os.environ["DOCKER_HOST"].removeprefix("unix://")
    here = Engine("here", open_local, local)
    hosts = tuple(
        Engine(host.name, connections.of(Target(host.name, host.name)).open_socket)
        for host in testbed.hosts[:2]
    )
    try:
        yield Lab(testbed, here, hosts, LayerCache(tmp_path / "cache"))
    finally:
        for engine in (here, *hosts):
            engine.close()
        connections.close()
