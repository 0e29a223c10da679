"""What of a script's folder, or of `code:`, goes into containers."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import InputError
from launcher.files.archive import Archive, Owner
from launcher.files.code import code_archive

OWNER = Owner(1000, 1001)
TRAINERS = Path(__file__).parent.parent.parent / "trainers"


def members(archive: Archive | None) -> dict[str, tarfile.TarInfo]:
    assert archive
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive.chunks()) + bytes(1024))) as tar:
        return {each.name: each for each in tar}


def names(archive: Archive | None) -> set[str]:
    return set(members(archive))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "project"
    (made / "model").mkdir(parents=True)
    (made / "train.py").write_text("import model.net, settings\nfrom os import path\n")
    (made / "model" / "__init__.py").write_text("")
    (made / "model" / "net.py").write_text("def f():\n    import deep\n")
    (made / "model" / "weights.bin").write_bytes(b"w")
    (made / "settings.py").write_text("import train\n")
    (made / "deep.py").write_text("this is no Python")
    (made / "other.py").write_text("")
    yield made


def test_a_script_comes_with_the_modules_beside_it_that_it_imports(folder: Path) -> None:
    """Modules and packages, also those that they import, inside functions too; nothing else."""
    got = names(code_archive(str(folder / "train.py"), None, OWNER))
    wanted = ["train.py", "settings.py", "deep.py", "model/__init__.py", "model/net.py"]
    assert got == {f"data/{name}" for name in wanted}


def test_a_trainer_comes_with_all_that_it_needs() -> None:
    """mnist_dist runs in a container that has the libraries."""
    got = names(code_archive(str(TRAINERS / "mnist_dist.py"), None, OWNER))
    needed = "mnist_dist mnist_single mnist_data _mnist_data_config _mnist_download"
    assert got == {f"data/{name}.py" for name in needed.split()}


def test_a_folder_comes_as_it_is(folder: Path) -> None:
    """Links, modes and times are kept, every folder is there, and all belongs to the user."""
    (folder / "empty").mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    os.utime(folder / "run.sh", (1_600_000_000, 1_600_000_000))
    (folder / "latest").symlink_to("model/net.py")
    got = members(code_archive(str(folder / "train.py"), str(folder), OWNER))
    assert got["data/empty"].isdir()
    assert got["data/latest"].linkname == "model/net.py"
    script = got["data/run.sh"]
    assert (script.mode, script.mtime, script.size) == (0o750, 1_600_000_000, 10)
    assert {(each.uid, each.gid) for each in got.values()} == {tuple(OWNER)}
    assert "data" not in got


def test_hard_links_become_files(folder: Path) -> None:
    """Two names of one file are two files there."""
    os.link(folder / "other.py", folder / "same.py")
    got = members(code_archive(None, str(folder), OWNER))
    assert got["data/other.py"].isreg() and got["data/same.py"].isreg()


def test_what_dockerignore_names_stays_here(folder: Path) -> None:
    """Patterns, comments and exceptions mean what they mean to Docker."""
    (folder / ".dockerignore").write_text("# big things\n\n**/*.bin\nmodel\n!model/net.py\n")
    got = names(code_archive(None, str(folder), OWNER))
    assert "data/model/net.py" in got
    assert not got & {"data/model/weights.bin", "data/model/__init__.py"}


def test_without_dockerignore_caches_and_runs_stay_here(folder: Path) -> None:
    """.git and byte code, and what the caller leaves out, are not sent."""
    for name in (".git", "model/__pycache__", "runs/one"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text("")
    got = names(code_archive(None, str(folder), OWNER, leave_out=[str(folder / "runs")]))
    assert not [n for n in got if ".git" in n or "__pycache__" in n or "runs" in n]
    assert "data/model/weights.bin" in got


def test_a_script_from_elsewhere_comes_beside_the_folder(folder: Path, tmp_path: Path) -> None:
    """The script lies at /data under its base name."""
    (tmp_path / "mine.py").write_text("")
    got = names(code_archive(str(tmp_path / "mine.py"), str(folder), OWNER))
    assert {"data/mine.py", "data/train.py"} <= got


def test_the_same_files_give_the_same_bytes(folder: Path) -> None:
    """The archive does not depend on the order of a folder's entries or on the clock."""
    first, again = (code_archive(None, str(folder), OWNER) for _ in range(2))
    assert first and again
    assert b"".join(first.chunks()) == b"".join(again.chunks())


def test_a_command_brings_nothing() -> None:
    """Without a script and a folder there is no archive."""
    assert code_archive(None, None, OWNER) is None


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    """Every file at fault, in one error."""
    gone = folder / "train.py"
    gone.unlink()
    with pytest.raises(InputError, match=r"train\.py: cannot be read: No such file"):
        code_archive(str(gone), None, OWNER)
    with pytest.raises(InputError, match="nowhere: cannot be read: No such file"):
        code_archive(None, str(folder / "nowhere"), OWNER)
