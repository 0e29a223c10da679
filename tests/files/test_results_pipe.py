"""An archive out of a pipe, whose bytes the kernel moves, is unpacked as any other."""

import errno
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from launcher.files import unpack
from launcher.files.unpack import Summary

SIZES = (0, 1, 511, 512, 513, 65_536, 3_000_001)  # the last is more than a pipe holds
FILES = {f"d/{size}": os.urandom(size) for size in SIZES}


def archive(**fields: object) -> bytes:
    file = io.BytesIO()
    with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o6777, 1_600_000_000.5
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def piped(data: bytes, folder: Path) -> Summary:
    """Unpack what comes through a pipe, in pieces that fit nothing."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as pipe:
            rest = memoryview(data)
            while rest:
                rest = rest[pipe.write(rest[:70_001]) :]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with open(reading, "rb", buffering=0) as source:
            summary = unpack.unpack(source, str(folder), "/data/output")
            while source.read(1 << 20):
                pass
        return summary
    finally:
        writer.join()


def is_whole(folder: Path) -> bool:
    return {f"d/{path.name}": path.read_bytes() for path in folder.glob("d/*")} == FILES


def test_files_of_any_size_come_as_they_were(tmp_path: Path) -> None:
    """With their times and safe modes, in folders that the archive does not name."""
    assert piped(archive(), tmp_path) == Summary(len(SIZES), sum(SIZES))
    assert is_whole(tmp_path)
    for path in tmp_path.glob("d/*"):
        assert (path.stat().st_mode & 0o7777, path.stat().st_mtime) == (0o755, 1_600_000_000.5)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_where_the_kernel_moves_nothing_we_do(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems cannot take bytes out of a pipe."""

    def refuse(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "splice", refuse)
    assert piped(archive(), tmp_path) == Summary(len(SIZES), sum(SIZES))
    assert is_whole(tmp_path)


@pytest.mark.parametrize("cut", [1, 512, 5000, 1_000_000, 3_000_000])
def test_a_pipe_that_ends_early_is_damage(cut: int, tmp_path: Path) -> None:
    """Wherever it ends, also in the middle of a file."""
    summary = piped(archive()[:-cut] if cut > 512 else archive()[:cut], tmp_path)
    assert summary.problem and not summary.is_local


def test_a_size_below_nothing_is_damage(tmp_path: Path) -> None:
    """A header may claim any number."""
    info = tarfile.TarInfo("a")
    info.size = -4096
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)
    summary = piped(data, tmp_path)
    assert summary.problem and not summary.is_local


def test_a_header_cannot_claim_all_memory(tmp_path: Path) -> None:
    """A name of a gigabyte is refused before it is read."""
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    problem = piped(info.tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000), tmp_path).problem
    assert problem == "one of its headers claims 1073741824 bytes"


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    """Should one lie in the folder all the same, its target is left alone."""
    (tmp_path / "secret").write_text("secret")
    home = tmp_path / "home"
    (home / "d").mkdir(parents=True)
    (home / "d" / "0").symlink_to("../../secret")
    assert piped(archive(), home).problem or (home / "d" / "0").is_symlink()
    assert (tmp_path / "secret").read_text() == "secret"
