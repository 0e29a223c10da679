"""The layer cache: whole files by content, bounded, and safe to share."""

import hashlib
import os
from pathlib import Path

import pytest

from launcher.images.cache import LayerCache, default_folder

LAYER = f"sha256:{'a' * 64}"


@pytest.fixture
def cache(tmp_path: Path) -> LayerCache:
    return LayerCache(tmp_path / "layers")


def test_a_blob_is_named_by_its_content(cache: LayerCache) -> None:
    """What was put is found by the digest of its content, and by nothing else."""
    digest = cache.put(b"content")
    assert digest == f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    blob = cache.blob(digest)
    assert blob is not None and blob.size_bytes == 7 and blob.path.read_bytes() == b"content"
    assert cache.blob(LAYER) is None


def test_an_upload_that_is_not_what_was_announced_leaves_nothing(cache: LayerCache) -> None:
    """A wrong or unfinished upload is no blob, and its file is gone."""
    with pytest.raises(ValueError, match="expected sha256:a"), cache.upload() as upload:
        upload.write(b"content")
        upload.finish(LAYER)
    assert not list((cache.folder / "blobs").iterdir())
    assert not list((cache.folder / "uploads").iterdir())


def test_it_knows_which_blob_holds_a_layer(cache: LayerCache) -> None:
    """A layer is found by its blob, and a digest's layer is known after the blob is gone."""
    digest = cache.put(b"content")
    cache.learn({LAYER: digest})
    blob = cache.layer(LAYER)
    assert blob is not None and blob.digest == digest
    cache.discard(digest)
    assert cache.layer(LAYER) is None
    assert cache.layer_of(digest) == LAYER


def test_a_name_without_a_blob_does_not_hide_one_with_it(cache: LayerCache) -> None:
    """Another digest of a layer, of which there is no blob, does not replace the one there is."""
    digest = cache.put(b"content")
    cache.learn({LAYER: digest})
    cache.learn({LAYER: f"sha256:{'b' * 64}"})
    blob = cache.layer(LAYER)
    assert blob is not None and blob.digest == digest


def test_eviction_takes_what_was_used_least_recently(tmp_path: Path) -> None:
    """Beyond the cap the oldest go first, and never what is about to be sent."""
    cache = LayerCache(tmp_path, cap_bytes=10)
    spared, oldest, newer = (cache.put(bytes([n]) * 5) for n in range(3))
    for age, digest in enumerate((newer, oldest, spared)):
        blob = cache.blob(digest)
        assert blob is not None
        os.utime(blob.path, (1000 - age, 1000 - age))
    cache.evict(keep=[spared])
    assert cache.blob(oldest) is None
    assert cache.blob(newer) and cache.blob(spared)


def test_who_reads_a_blob_reads_it_to_its_end(tmp_path: Path) -> None:
    """A launcher that has opened a blob keeps it, whatever another one evicts."""
    cache = LayerCache(tmp_path, cap_bytes=0)
    blob = cache.blob(cache.put(b"content"))
    assert blob is not None
    with blob.path.open("rb") as file:
        LayerCache(tmp_path, cap_bytes=0).evict()
        assert file.read() == b"content"
    assert cache.blob(blob.digest) is None


def test_abandoned_uploads_are_removed(cache: LayerCache) -> None:
    """What a killed launcher left half-written goes once it is a day old."""
    left = cache.folder / "uploads" / "left"
    fresh = cache.folder / "uploads" / "fresh"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    cache.evict()
    assert not left.exists() and fresh.exists()


@pytest.mark.parametrize("digest", ["../../etc/passwd", "sha256:", "sha256:" + "A" * 64, "a/b"])
def test_a_digest_is_never_a_path(cache: LayerCache, digest: str) -> None:
    """What is no digest is refused, whoever sends it."""
    with pytest.raises(ValueError, match="no sha256 digest"):
        cache.blob(digest)


def test_it_is_the_users_own(tmp_path: Path) -> None:
    """Images may hold what others must not read: the folders are closed to them."""
    cache = LayerCache(tmp_path / "layers")
    assert {oct(part.stat().st_mode & 0o777) for part in cache.folder.iterdir()} == {"0o700"}


def test_it_lies_where_caches_lie() -> None:
    """$XDG_CACHE_HOME is honoured; without it ~/.cache is the place."""
    assert default_folder({"HOME": "/home/ml"}) == Path("/home/ml/.cache/launch/layers")
    found = default_folder({"HOME": "/home/ml", "XDG_CACHE_HOME": "/var/cache/ml"})
    assert found == Path("/var/cache/ml/launch/layers")
