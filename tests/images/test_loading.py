"""What is sent to a host: archives that hold just what it lacks."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from launcher.images import loading
from launcher.images.cache import Blob, LayerCache
from launcher.images.identity import PARTIAL_LABEL, chain_id
from launcher.images.loading import Archive, archives

LAYERS = tuple(f"sha256:{n * 64}" for n in "abcd")
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": LAYERS}}
).encode()


def whole(blobs: dict[str, Blob]) -> Archive:
    return Archive(CONFIG, LAYERS, blobs, "lab/mnist:1")


def blob(size_bytes: int) -> Blob:
    return Blob(LAYERS[0], Path("unread"), size_bytes)


def test_what_is_small_goes_at_once() -> None:
    """One archive, under the name that the user knows."""
    (only,) = archives(whole({LAYERS[3]: blob(10)}), "sha256:id")
    assert (only.config, only.tag, set(only.blobs)) == (CONFIG, "lab/mnist:1", {LAYERS[3]})


def test_what_is_big_goes_in_stacks_that_can_be_gone_on_from() -> None:
    """Each archive stands upon the last; only the last has the user's name and configuration."""
    big = loading.PART_BYTES
    blobs = {LAYERS[1]: blob(big), LAYERS[2]: blob(1), LAYERS[3]: blob(big)}
    first, last = archives(whole(blobs), "sha256:id")
    assert (first.layers, set(first.blobs)) == (LAYERS[:2], {LAYERS[1]})
    assert (last.layers, set(last.blobs), last.tag) == (LAYERS, set(LAYERS[2:]), "lab/mnist:1")
    part = json.loads(first.config)
    assert part["config"]["Labels"] == {PARTIAL_LABEL: "sha256:id"}
    assert part["rootfs"]["diff_ids"] == list(LAYERS[:2])
    assert first.tag is not None and first.tag.startswith("launch-partial:")


def test_an_archive_counts_what_is_in_it() -> None:
    """Its id is the configuration's digest, its size that of the layers to send."""
    archive = whole({LAYERS[2]: blob(5), LAYERS[3]: blob(7)})
    assert archive.image_id == f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    assert archive.size_bytes == 12


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_chain_id_is_the_specifications(count: int) -> None:
    """ChainID(L0…Ln) = digest of "ChainID(L0…Ln-1) Ln", as the OCI image specification has it."""
    chain = LAYERS[0]
    for layer in LAYERS[1:count]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {layer}'.encode()).hexdigest()}"
    assert chain_id(LAYERS[:count]) == chain


def test_the_cache_remembers_interrupted_hosts(tmp_path: Path) -> None:
    """Any name of a host may have parts noted, until they are forgotten."""
    cache = LayerCache(tmp_path)
    cache.note_parts("../gpu1")
    assert cache.has_parts("../gpu1") and not cache.has_parts("gpu2")
    cache.forget_parts("../gpu1")
    assert not cache.has_parts("../gpu1")


@pytest.mark.parametrize(
    ("content", "is_sent_raw"),
    [
        (Path(loading.__file__).read_bytes(), True),
        (os.urandom(5000), False),
        (bytes(9 << 20), False),
    ],
    ids=["text", "noise", "large"],
)
def test_what_is_small_is_squeezed_as_a_whole(
    tmp_path: Path, content: bytes, is_sent_raw: bool
) -> None:
    """A small layer goes uncompressed in a compressed archive where that is less."""
    file = tmp_path / "blob"
    file.write_bytes(gzip.compress(content))
    sent = loading.small_body(whole({LAYERS[3]: Blob(LAYERS[3], file, file.stat().st_size)}))
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        found = {name: file.read() for name, file in files.items() if file}
    (manifest,) = json.loads(found["manifest.json"])
    assert found[manifest["Config"]] == CONFIG
    layer = found[manifest["Layers"][3]]
    assert layer == (content if is_sent_raw else file.read_bytes())
    assert len(set(manifest["Layers"])) == len(LAYERS)


def test_a_spoilt_blob_is_sent_as_it_is(tmp_path: Path) -> None:
    """What is cut short is the engine's to refuse."""
    file = tmp_path / "blob"
    file.write_bytes(gzip.compress(os.urandom(100))[:-20])
    sent = loading.small_body(whole({LAYERS[3]: Blob(LAYERS[3], file, file.stat().st_size)}))
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        found = archive.extractfile("3.tar")
        assert found is not None and found.read() == file.read_bytes()
