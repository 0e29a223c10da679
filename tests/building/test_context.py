"""The files that a build gets."""

import tarfile
from pathlib import Path

import pytest

from launcher.building import context
from launcher.errors import InputError
from tests.building.places import REPOSITORY


def names(packed: context.Context) -> set[str]:
    with packed.archive, tarfile.open(fileobj=packed.archive) as archive:
        return {member.name for member in archive if not member.isdir()}


def test_what_is_ignored_stays_away(tmp_path: Path) -> None:
    """.dockerignore is honoured; the Dockerfile is sent all the same."""
    for name in ("a", "b", "c/x.pyc", "c/x.py", "Dockerfile"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# why\n*\n\n!a\n!c\n**/*.pyc\n")
    packed = context.pack(tmp_path, tmp_path / "Dockerfile")
    assert packed.dockerfile == "Dockerfile"
    assert packed.size_bytes > 0
    assert names(packed) - {".dockerignore"} == {"a", "c/x.py", "Dockerfile"}


def test_a_dockerfile_from_elsewhere(tmp_path: Path) -> None:
    """A Dockerfile outside the folder is sent beside the folder's files."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("a")
    (tmp_path / "x.Dockerfile").write_text("FROM a\n")
    packed = context.pack(folder, tmp_path / "x.Dockerfile")
    assert {"a", packed.dockerfile} <= names(packed)


def test_code_on_top(tmp_path: Path) -> None:
    """Code comes last, whatever is ignored, and readable for any user of the image."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".dockerignore").write_text("*\n")
    (folder / "Dockerfile").write_text("FROM a\nUSER 7")
    (tmp_path / "own.py").write_text("print()")
    (tmp_path / "own.py").chmod(0o600)
    packed = context.pack(folder, folder / "Dockerfile", {"lib/own.py": str(tmp_path / "own.py")})
    with packed.archive, tarfile.open(fileobj=packed.archive) as archive:
        text = archive.extractfile(packed.dockerfile)
        assert text and text.read() == b"FROM a\nUSER 7\nCOPY .launch.code/ /data/\n"
        member = archive.getmember(".launch.code/lib/own.py")
        assert (member.mode, member.uid, member.uname) == (0o644, 0, "")
        code = archive.extractfile(member)
        assert code and code.read() == b"print()"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A file that cannot be read is named, with what to do."""
    (tmp_path / "Dockerfile").mkdir()  # opening a folder fails for every user
    with pytest.raises(InputError, match="make it readable"):
        context.pack(tmp_path, tmp_path / "Dockerfile" / ".." / ".." / "x.Dockerfile")


def test_our_own_is_small() -> None:
    """The image of the trainers is made of the launcher and the trainers, and nothing else."""
    packed = context.pack(REPOSITORY, REPOSITORY / "mnist.Dockerfile")
    size = packed.size_bytes
    found = names(packed)
    assert {"launcher/__init__.py", "trainers/mnist_dist.py", "trainers/data/mnist.npz"} < found
    others = {name for name in found if not name.startswith(("launcher/", "trainers/"))}
    assert others <= {"mnist.Dockerfile", ".dockerignore"}
    assert not any("__pycache__" in name for name in found)
    assert size < 4 << 20
