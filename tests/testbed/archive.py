"""Docker image archives written without a Docker Engine: layers, a config and a manifest.

The same layers and settings give the same image id, on every machine and at any time.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path

_CREATED = "2026-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(path: Path, tag: str, layers: Sequence[Path], env: Sequence[str],
                  command: Sequence[str]) -> None:  # fmt: skip
    """Write what `docker load` takes: an image of these uncompressed layers, lowest first."""
    digests = [_sha256(layer) for layer in layers]
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _CREATED,
            "config": {"Env": list(env), "Cmd": list(command)},
            "history": [{"created": _CREATED, "created_by": layer.stem} for layer in layers],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{d}" for d in digests]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": names}]
    with tarfile.open(path, "w") as archive:
        _add(archive, config_name, config)
        for name, layer in zip(names, layers, strict=True):
            archive.add(layer, name)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def image_id(archive: Path) -> str:
    """Return the id that the archive's image gets when it is loaded."""
    with tarfile.open(archive) as tar:
        first = tar.next()
        assert first is not None
        return f"sha256:{first.name.removesuffix('.json')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
