"""Names of images, and the tags that builds give them."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from launcher.building import repository
from launcher.building.repository import ImageName


@pytest.mark.parametrize(
    ("text", "name", "registry"),
    [
        ("mnist", ImageName("mnist", None), "docker.io"),
        ("ml/mnist:v1", ImageName("ml/mnist", "v1"), "docker.io"),
        ("registry.lab/a/b", ImageName("registry.lab/a/b", None), "registry.lab"),
        ("localhost/b:x", ImageName("localhost/b", "x"), "localhost"),
        ("lab:5000/a", ImageName("lab:5000/a", None), "lab:5000"),
        ("lab:5000/a:v", ImageName("lab:5000/a", "v"), "lab:5000"),
    ],
)
def test_names(text: str, name: ImageName, registry: str) -> None:
    """A port is no tag, and the registry is the one that Docker would ask."""
    assert repository.parse(text) == name
    assert name.registry == registry
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lab/A", "did you mean 'lab/a'"),
        ("a b", "expected a name as in"),
        ("", "expected a name as in"),
        ("a..b", "expected a name as in"),
        ("a:", "expected a name as in"),
        (f"a@sha256:{'0' * 64}", "got the digest"),
    ],
)
def test_no_names(text: str, expected: str) -> None:
    """What is no name is refused with what was expected."""
    with pytest.raises(ValueError, match=expected):
        repository.parse(text)


@pytest.mark.parametrize(
    ("file", "folder", "name"),
    [
        ("mnist.Dockerfile", "/x/y", "mnist"),
        ("Dockerfile", "/x/My Model_2", "my-model-2"),
        ("Dockerfile.gpu", "/x/y", "y"),
        ("Dockerfile", "/", "image"),
        ("Ü.Dockerfile", "/x", "image"),
    ],
)
def test_default_names(file: str, folder: str, name: str) -> None:
    """An image without a name is named after its Dockerfile, else after its folder."""
    found = repository.name_for(Path(folder, file), Path(folder))
    assert found == name
    assert repository.parse(found).tag is None


def test_a_stamp_is_given_once() -> None:
    """A build gets its time in UTC, or the next second that no build has."""
    now = datetime(2026, 3, 1, 1, 2, 3, 999, timezone(timedelta(hours=2)))
    moment = repository.stamp(now, ["20260228_230203", "20260228_230204", "latest"])
    assert moment == datetime(2026, 2, 28, 23, 2, 5, tzinfo=UTC)
    assert repository.is_stamp(moment.strftime(repository.STAMP_FORMAT))
    assert not repository.is_stamp("latest")
