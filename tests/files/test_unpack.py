"""An archive that nobody vouches for is unpacked into a folder, and never beyond it."""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.files import unpack
from launcher.files.unpack import Summary

PREFIX = "/data/output"


class Tar:
    """Makes an archive, evil ones too."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def file(self, name: str, data: bytes = b"x", **fields: object) -> "Tar":
        return self._add(name, tarfile.REGTYPE, data, fields)

    def folder(self, name: str, **fields: object) -> "Tar":
        return self._add(name, tarfile.DIRTYPE, b"", {"mode": 0o755, **fields})

    def link(self, name: str, to: str) -> "Tar":
        return self._add(name, tarfile.SYMTYPE, b"", {"linkname": to})

    def hard_link(self, name: str, to: str, **fields: object) -> "Tar":
        return self._add(name, tarfile.LNKTYPE, b"", {"linkname": to, **fields})

    def device(self, name: str) -> "Tar":
        return self._add(name, tarfile.CHRTYPE, b"", {})

    def _add(self, name: str, kind: bytes, data: bytes, fields: Mapping[str, object]) -> "Tar":
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def bytes(self) -> bytes:
        self._tar.close()
        return self._file.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "outer" / "home"
    made.mkdir(parents=True)
    return made


def unpacked(data: bytes, folder: Path) -> Summary:
    return unpack.unpack(io.BytesIO(data), str(folder), PREFIX)


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Return all below a folder: a file's bytes, where a link leads, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def test_files_folders_links_and_times_are_as_they_were(home: Path) -> None:
    """What a task wrote is what lies here afterwards."""
    tar = Tar().folder("./").folder("a", mtime=1_500_000_000)
    tar.file("a/b", b"12", mtime=1_600_000_000).file("a/run", mode=0o755)
    tar.link("latest", "a/b").hard_link("same", "a/b", mtime=1_600_000_000)
    summary = unpacked(tar.bytes(), home)
    assert summary == Summary(files=3, size_bytes=5)
    assert tree(home) == {"a": None, "a/b": b"12", "a/run": b"x", "latest": "a/b", "same": b"12"}
    assert (home / "a" / "b").stat().st_mtime == 1_600_000_000
    assert (home / "a").stat().st_mtime == 1_500_000_000
    assert (home / "a" / "run").stat().st_mode & 0o777 == 0o755


def test_absolute_links_to_what_comes_along_lead_there(home: Path) -> None:
    """A link by the container's own path becomes relative."""
    tar = Tar().file("ckpt/7").link("ckpt/latest", f"{PREFIX}/ckpt/7")
    assert unpacked(tar.bytes(), home).skipped == ()
    assert (home / "ckpt" / "latest").read_bytes() == b"x"


def test_files_belong_to_whoever_unpacks_them(home: Path) -> None:
    """Owners in the archive do not count, and no file gets setuid, or is writable by others."""
    unpacked(Tar().file("f", uid=4242, gid=4242, mode=0o6777).bytes(), home)
    seen = (home / "f").stat()
    assert (seen.st_uid, seen.st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_IMODE(seen.st_mode) & 0o7022 == 0


EVIL = {
    "a path that climbs": Tar().file("../evil"),
    "a link that climbs, then a file through it": Tar().link("up", "..").file("up/evil"),
    "an absolute link, then a file through it": Tar().link("etc", "/").file("etc/evil"),
    "two links that climb together": Tar().folder("d").link("d/a", "..").link("d/b", "a/.."),
    "a hard link out": Tar().hard_link("inner", "../secret"),
    "a hard link through a link": Tar().link("up", "..").hard_link("inner", "up/secret"),
    "a link that loops": Tar().link("a", "b").link("b", "a"),
    "a link below a link": Tar().link("up", "..").link("up/evil", "secret"),
    "a device": Tar().device("null"),
}


@pytest.mark.parametrize("tar", EVIL.values(), ids=EVIL)
def test_nothing_is_written_or_led_out_of_the_folder(tar: Tar, home: Path) -> None:
    """Whatever names an archive has, nothing outside changes and no link leads there."""
    outer = home.parent
    (outer / "secret").write_bytes(b"secret")
    unpacked(tar.bytes(), home)
    assert sorted(p.name for p in outer.iterdir()) == ["home", "secret"]
    assert (outer / "secret").stat().st_nlink == 1
    for path in home.rglob("*"):
        assert path.resolve().is_relative_to(home.resolve())


def test_a_path_longer_than_the_system_resolves_hides_nothing(home: Path) -> None:
    """Links whose end nobody can tell, as their path is too long, are not made (CVE-2025-4517)."""
    tar, step, at = Tar(), "d" * 247, ""
    for letter in "abcdefghijklmnop":
        tar.folder(f"{at}{step}").link(f"{at}{letter}", step)
        at += f"{step}/"
    chain = "/".join("abcdefghijklmnop")
    tar.link(f"{chain}/{'l' * 254}", "../" * 16).link("escape", f"{chain}/{'l' * 254}/../../../..")
    tar.file("escape/evil")
    unpacked(tar.bytes(), home)
    assert [p.name for p in home.parent.iterdir()] == ["home"]
    assert not (home.parent.parent / "evil").exists()


def test_what_is_left_out_is_named(home: Path) -> None:
    """The rest comes home nevertheless."""
    tar = Tar().file("good").device("null").link("passwd", "/etc/passwd").file("also")
    summary = unpacked(tar.bytes(), home)
    assert tree(home) == {"good": b"x", "also": b"x"}
    assert summary.files == 2
    assert [each.partition(":")[0] for each in summary.skipped] == ["null", "passwd"]


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 600, 1024, 1500, 2048])
def test_an_archive_that_ends_early_is_damaged(cut: int, home: Path) -> None:
    """Wherever it ends, also between two files."""
    whole = Tar().file("a", b"a" * 500).file("b", b"b" * 500).bytes()
    summary = unpacked(whole[:cut], home)
    assert summary.problem and not summary.is_local


def test_a_disk_that_refuses_is_named(home: Path) -> None:
    """A problem here is told from one of what arrived."""
    summary = unpacked(Tar().file("a/" + "n" * 300).bytes(), home)
    assert summary.is_local
    assert "File name too long" in summary.problem


def test_names_used_twice_are_damage(home: Path) -> None:
    """Fewer files on the disk than arrived are not passed over."""
    assert (
        "are on the disk" in unpacked(Tar().file("a", b"1").file("a", b"22").bytes(), home).problem
    )


@given(st.binary(max_size=2048))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    """No bytes raise anything."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked(data, Path(folder))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
        .filter(lambda name: name not in (".", "..") and len(name.encode()) < 250)
        .map(lambda name: f"d/{name}"),
        st.binary(max_size=3000),
        max_size=8,
    )
)
def test_every_file_comes_as_it_was(files: dict[str, bytes]) -> None:
    """Names of any characters, contents of any size."""
    tar = Tar().folder("d")
    for name, data in files.items():
        tar.file(name, data)
    with tempfile.TemporaryDirectory() as folder:
        summary = unpacked(tar.bytes(), Path(folder))
        assert summary == Summary(len(files), sum(map(len, files.values())))
        assert tree(Path(folder)) == {"d": None, **files}


def test_as_a_program_it_needs_no_package(home: Path) -> None:
    """It reads standard input, and its last word is a summary."""
    command = [sys.executable, "-I", "-S", unpack.__file__, str(home), PREFIX]
    out = subprocess.run(command, input=Tar().file("a").bytes(), capture_output=True, check=True)
    assert json.loads(out.stdout) == {
        "files": 1, "size_bytes": 1, "skipped": [], "problem": "", "is_local": False,
    }  # fmt: skip
    assert tree(home) == {"a": b"x"}
