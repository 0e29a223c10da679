"""Secrets become files, and show nowhere else."""

import io
import tarfile
from pathlib import Path

import pytest

from launcher.cluster import Secret
from launcher.errors import InputError
from launcher.files.archive import Owner
from launcher.files.secrets import read_secrets, secrets_archive


def test_files_and_variables_are_read_as_they_are(tmp_path: Path) -> None:
    """Bytes are kept, a line's end too."""
    (tmp_path / "key").write_bytes(b"\xff\x00\n")
    spec = {"KEY": Secret(file=str(tmp_path / "key")), "TOKEN": Secret(env="MY_TOKEN")}
    assert dict(read_secrets(spec, {"MY_TOKEN": "t"})) == {"KEY": b"\xff\x00\n", "TOKEN": b"t"}


def test_every_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """In one error, with what was expected."""
    spec = {
        "A": Secret(file=str(tmp_path / "none")),
        "B": Secret(env="NOT_SET"),
        "C": Secret(file=str(tmp_path)),
        "D": Secret(env="SET"),
    }
    with pytest.raises(InputError) as caught:
        read_secrets(spec, {"SET": "s"})
    assert [problem.where for problem in caught.value.problems] == [
        "secrets.A", "secrets.B", "secrets.C",
    ]  # fmt: skip
    assert "NOT_SET is not set here" in str(caught.value)


def test_values_do_not_show() -> None:
    """Neither the secrets nor their archive show a value in a message or a traceback."""
    secrets = read_secrets({"TOKEN": Secret(env="T")}, {"T": "hunter2"})
    archive = secrets_archive(secrets, Owner(0, 0))
    for shown in (f"{secrets}", repr(secrets), f"{archive}", repr(archive)):
        assert "hunter2" not in shown
    assert repr(secrets) == "Secrets(TOKEN)"


def test_only_the_containers_user_may_read_them() -> None:
    """Files 0400 and their folder 0500, owned by that user."""
    secrets = read_secrets({"TOKEN": Secret(env="T")}, {"T": "hunter2"})
    archive = secrets_archive(secrets, Owner(7, 8))
    assert archive
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive.chunks()) + bytes(1024))) as tar:
        got = [(each.name, each.mode, each.uid, each.gid) for each in tar]
    assert got == [("run/secrets", 0o500, 7, 8), ("run/secrets/TOKEN", 0o400, 7, 8)]


def test_no_secrets_no_archive() -> None:
    """Nothing is made in a container that has no secrets."""
    assert secrets_archive(read_secrets({}, {}), Owner(0, 0)) is None
