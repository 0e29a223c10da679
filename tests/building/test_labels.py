"""The labels of a built image."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.building.labels import labels, source

MOMENT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A git tree with one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/a").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_source(tree: Path) -> None:
    """The commit is known; a folder is dirty where a file in it differs or is new."""
    commit = git(tree, "rev-parse", "HEAD")
    assert source(tree) == (commit, False)
    (tree / "new").write_text("2")
    assert source(tree) == (commit, True)
    assert source(tree / "inside") == (commit, False)
    (tree / "inside/a").write_text("3")
    assert source(tree / "inside") == (commit, True)


def test_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder outside any git tree has no source, nor has one where there is no git."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert source(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert source(tmp_path) is None  # no commit yet
    monkeypatch.setenv("PATH", "/nowhere")
    assert source(tmp_path) is None


def test_labels() -> None:
    """What is known is there, in the specification's words; what looks secret is masked."""
    made = labels("mnist", MOMENT, "tf:1", "sha256:0", {"A": "1", "HF_TOKEN": "s3cret"}, None)
    assert made == {
        "org.opencontainers.image.title": "mnist",
        "org.opencontainers.image.created": "2026-02-03T04:05:06Z",
        "org.opencontainers.image.version": "20260203_040506",
        "org.opencontainers.image.base.name": "tf:1",
        "org.opencontainers.image.base.digest": "sha256:0",
        "launch.build-args": '{"A": "1", "HF_TOKEN": "********"}',
    }
