"""Images reach real hosts over SSH, with no registry."""

import base64
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from launcher.cluster import ImageTransfer
from launcher.errors import HostError
from launcher.images import Images
from launcher.images.identity import inspect
from launcher.transfer import Progress
from tests.images.conftest import Lab, tags
from tests.testbed.commands import until

pytestmark = pytest.mark.testbed

MIB = 1 << 20
FOREIGN_BYTES = 32 << 10
NAME = "lab/mnist:1"
LOGIN = ("ml", "open-sesame")


def test_hosts_get_the_image_that_is_here(lab: Lab) -> None:
    """Two hosts at once get the same id under the user's name; no other name is left anywhere."""
    before = [tags(engine) for engine in (lab.here, *lab.hosts)]
    made = lab.build(NAME, os.urandom(MIB), b"code")
    shown = lab.ship(NAME, *lab.hosts)
    for engine, had in zip((lab.here, *lab.hosts), before, strict=True):
        assert tags(engine) - had == {NAME}
        assert engine.api.inspect_image(NAME)["Id"] == made
    assert {p.host for p in shown if p.is_done} == {"here", *(host.host for host in lab.hosts)}
    packing = [p for p in shown if p.detail == "packing"]
    assert {p.host for p in packing} == {"here"}
    assert [p.is_done for p in packing[-2:]] == [False, True]


def test_a_host_that_has_it_gets_nothing(lab: Lab) -> None:
    """By id, not by tag: one question is all that crosses the wire."""
    lab.build(NAME, b"code")
    lab.ship(NAME, lab.hosts[0])
    lab.here.api.tag(NAME, "other/name", "2")
    before = lab.bed.hosts[0].bytes_on_wire()
    assert lab.ship("other/name:2", lab.hosts[0]) == []
    assert lab.bed.hosts[0].bytes_on_wire() - before < 64 << 10


def test_an_edit_costs_one_layer(lab: Lab) -> None:
    """With one layer changed, that layer is packed here and sent, and nothing else."""
    big = os.urandom(4 * MIB)
    lab.build(NAME, big, b"first")
    lab.ship(NAME, *lab.hosts)
    lab.build(NAME, big, b"second")
    before = lab.bed.hosts[0].bytes_on_wire()
    shown = lab.ship(NAME, *lab.hosts)
    assert lab.bed.hosts[0].bytes_on_wire() - before < 32 << 10
    assert max(p.done_bytes for p in shown) < 10_000


def test_an_edit_of_text_costs_hardly_more_than_its_layer(lab: Lab) -> None:
    """All that crosses a host's wire is at most 1.2 times the compressed layer."""
    sources = b"".join(file.read_bytes() for file in sorted(Path("trainers").glob("*.py")))
    lab.build(NAME, sources)
    lab.ship(NAME, lab.hosts[0])
    lab.build(NAME, sources + b"\nEDIT = 1\n")
    before = lab.bed.hosts[0].bytes_on_wire()
    lab.ship(NAME, lab.hosts[0])
    wire_bytes = lab.bed.hosts[0].bytes_on_wire() - before
    image = inspect(lab.here, NAME)
    blob = lab.cache.layer(image.layers[-1]) if image else None
    assert blob is not None
    assert wire_bytes <= 1.2 * blob.size_bytes


@pytest.mark.parametrize("wanted", [1, 2])
def test_an_empty_cache_brings_no_big_layer_back(lab: Lab, wanted: int) -> None:
    """What hosts have is not packed again, though the cache has forgotten all it knew."""
    big = os.urandom(4 * MIB)
    lab.build(NAME, big, *[b"first"] * wanted)
    lab.ship(NAME, lab.hosts[0])
    shutil.rmtree(lab.cache.folder)
    lab = lab._replace(cache=type(lab.cache)(lab.cache.folder))
    lab.build(NAME, big, *[b"second"] * wanted)
    lab.ship(NAME, lab.hosts[0])
    stored = sum(path.stat().st_size for path in (lab.cache.folder / "blobs").iterdir())
    assert stored < MIB


def test_interrupted_it_goes_on_where_it_was(lab: Lab, assert_clean: None) -> None:
    """Big layers that had arrived are not sent again, and no name of the user's is there yet."""
    host = lab.hosts[0]
    had = tags(host)
    lab.build(NAME, os.urandom(33 * MIB), os.urandom(34 * MIB), b"code")
    shown: list[Progress] = []

    def has_half() -> bool:
        return any(p.host == host.host and p.done_bytes > 40 * MIB for p in shown)

    with pytest.raises(HostError, match=f"{host.host}: the image was on its way when"):
        lab.images(NAME, on_progress=shown.append, is_cancelled=has_half).ensure(host)
    until(lambda: len(tags(host) - had) == 1, "the part that had arrived keeps its name")
    assert NAME not in tags(host)
    total_bytes = lab.ship(NAME, host)[0].total_bytes
    assert total_bytes is not None and 34 * MIB < total_bytes < 36 * MIB
    assert tags(host) - had == {NAME}
    for engine in (host, lab.here):
        engine.api.remove_image(NAME)


def test_a_dropped_connection_is_made_up_for(lab: Lab) -> None:
    """When the connection breaks in the middle, the image still arrives."""
    made = lab.build(NAME, os.urandom(33 * MIB), os.urandom(34 * MIB))
    dropped: list[Progress] = []

    def drop(progress: Progress) -> None:
        if progress.host == "h1" and progress.done_bytes > 40 * MIB and not dropped:
            dropped.append(progress)
            lab.bed.hosts[0].drop_ssh()

    assert lab.images(NAME, on_progress=drop).ensure(lab.hosts[0]) == made
    assert dropped


def test_a_spoilt_blob_is_packed_again(lab: Lab) -> None:
    """A blob in the cache that is cut short does not keep an image from a host."""
    made = lab.build(NAME, os.urandom(MIB), b"code")
    lab.ship(NAME, lab.hosts[0])
    image = inspect(lab.here, NAME)
    assert image is not None
    blob = lab.cache.layer(image.layers[-2])
    assert blob is not None
    blob.path.write_bytes(blob.path.read_bytes()[:-100])
    assert lab.images(NAME).ensure(lab.hosts[1]) == made


def test_another_architecture_is_refused_before_it_is_sent(lab: Lab) -> None:
    """The host, both architectures and the remedy are said, and no layer is sent."""
    lab.here.api.load_image(foreign_image("lab/foreign:1"))
    before = lab.bed.hosts[0].bytes_on_wire()
    with pytest.raises(HostError, match=r"h1: it is \w+, and the image is for s390x; build it"):
        lab.images("lab/foreign:1").ensure(lab.hosts[0])
    assert lab.bed.hosts[0].bytes_on_wire() - before < FOREIGN_BYTES
    assert not list((lab.cache.folder / "blobs").iterdir())


def test_an_engine_that_cannot_reach_us_saves_the_image(lab: Lab) -> None:
    """An engine in another network namespace, as a rootless one's, hands it out all the same."""
    made = lab.build(NAME, os.urandom(MIB), b"code")
    lab.ship(NAME, lab.hosts[0])
    shutil.rmtree(lab.cache.folder)
    lab = lab._replace(cache=type(lab.cache)(lab.cache.folder))
    far, there = lab.hosts
    had = tags(far)
    assert lab.images(NAME, here=far).ensure(there) == made
    assert tags(far) == had


def test_an_image_without_a_name_survives_being_shipped(lab: Lab) -> None:
    """An image asked for by its id, which no name held, is still here afterwards."""
    made = lab.build(NAME, b"code")
    lab.build(NAME, b"another has its name now")
    assert lab.images(made).ensure(lab.hosts[0]) == made
    assert inspect(lab.here, made)


def test_nothing_here_and_no_registry_says_both_ways(lab: Lab) -> None:
    """An image that is nowhere: the message says why, and the two things one can do."""
    name = "127.0.0.1:9/lab/nowhere:1"
    with pytest.raises(HostError, match=r"h1: .*nowhere.*Push it to a registry.*on this machine"):
        lab.images(name).ensure(lab.hosts[0])
    with pytest.raises(HostError, match="cannot be shipped, it is not on this machine"):
        lab.images(name, ImageTransfer.SHIP).ensure(lab.hosts[0])
    without = Images(name, None, ImageTransfer.AUTO, on_progress=lambda _: None,
                     is_cancelled=lambda: False, cache=lab.cache)  # fmt: skip
    assert without.reference() is None
    with pytest.raises(HostError, match="there is no Docker on this machine"):
        without.ensure(lab.hosts[0])


def test_hosts_that_have_their_own_must_have_the_same(lab: Lab) -> None:
    """Without an image here, hosts may use theirs, but not two that differ under one name."""
    name = "127.0.0.1:9/lab/theirs:1"
    for content, host in zip((b"one", b"two"), lab.hosts, strict=True):
        lab.build(name, content)
        lab.ship(name, host)
    lab.here.api.remove_image(name)
    images = lab.images(name)
    assert images.ensure(lab.hosts[0]) == lab.hosts[0].api.inspect_image(name)["Id"]
    with pytest.raises(HostError, match=r"h2: its .* is not the one of h1"):
        images.ensure(lab.hosts[1])


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on this machine that only LOGIN may use."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    users = tmp_path / "htpasswd"
    users.write_text(f"{LOGIN[0]}:{bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(5)).decode()}")
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        f"auth: {{htpasswd: {{realm: lab, path: {users}}}}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        until(lambda: listens(port), "the registry answers")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_a_login_of_this_user_serves_for_pulling(
    lab: Lab, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host pulls with the login of ~/.docker/config.json; without it, the remedy is said."""
    name = f"{registry}/lab/mnist:1"
    made = push(lab, name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    # This machine's engine stands for a host: engines trust a registry without TLS on their own
    # loopback only.
    host = lab.here
    images = Images(name, None, ImageTransfer.PULL, on_progress=lambda _: None,
                    is_cancelled=lambda: False, cache=lab.cache)  # fmt: skip
    with pytest.raises(HostError, match=f"does not give .* run `docker login {registry}`"):
        images.ensure(host)
    pair = base64.b64encode(":".join(LOGIN).encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": pair}}}))
    assert images.ensure(host) == made
    assert name in tags(host)


def test_a_failing_credential_helper_is_named_without_what_it_says(
    lab: Lab, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that is not installed is an error with a remedy, not a traceback."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry: "lacking"}}))
    with pytest.raises(HostError, match=f"the credential helper for {registry}"):
        lab.images(f"{registry}/lab/x:1", ImageTransfer.PULL).ensure(lab.here)


def test_a_pulled_image_that_differs_is_shipped_or_said(
    lab: Lab, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a registry has under the name is not what is here: `pull` says so."""
    name = f"{registry}/lab/mnist:1"
    push(lab, name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    pair = base64.b64encode(":".join(LOGIN).encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: {"auth": pair}}}))
    made = lab.build(name, b"newer")
    with pytest.raises(HostError, match=r"h1: .*could not be pulled"):
        lab.images(name, ImageTransfer.PULL).ensure(lab.hosts[0])
    assert lab.images(name).ensure(lab.hosts[0]) == made


def push(lab: Lab, name: str) -> str:
    """Build an image, push it, and forget it here; return its id."""
    made = lab.build(name, os.urandom(MIB))
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    said = list(lab.here.api.push(name, stream=True, decode=True, auth_config=login))
    assert not any("error" in event for event in said), said
    lab.here.api.remove_image(name)
    return made


def foreign_image(name: str) -> bytes:
    """Return an archive of an image of two layers for processors that nobody has here."""
    below, top = layer_of(b"below"), layer_of(os.urandom(FOREIGN_BYTES))
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in (below, top)]
    config = {
        "architecture": "s390x",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["below.tar", "top.tar"]}]
    files = {
        "below.tar": below,
        "top.tar": top,
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    return archive_of(files)


def layer_of(content: bytes) -> bytes:
    return archive_of({"content": content})


def archive_of(files: dict[str, bytes]) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        for file, content in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return found.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
