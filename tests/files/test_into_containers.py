"""What is put into a created container is there when it runs, and its user may use it."""

from pathlib import Path

import pytest

from launcher.cluster import Secret
from launcher.engine import EngineError
from launcher.errors import HostError
from launcher.files.archive import Owner, put
from launcher.files.code import code_archive
from launcher.files.owner import output_archive, owner_of
from launcher.files.secrets import read_secrets, secrets_archive
from tests.files.conftest import BUSYBOX, Remote

pytestmark = pytest.mark.testbed


def test_code_secrets_and_a_place_to_write_are_there(remote: Remote, tmp_path: Path) -> None:
    """One call fills a container of an image that knows neither /data nor /run/secrets."""
    (tmp_path / "train.py").write_text("print(1)\n")
    owner = Owner(1234, 1234)
    secrets = read_secrets({"TOKEN": Secret(env="T")}, {"T": "hunter2"})
    script = (
        "id -u; cat /data/train.py /run/secrets/TOKEN; echo; touch /data/output/mine && echo ok"
    )
    container = remote.container(script, user="1234:1234")
    code = code_archive(str(tmp_path / "train.py"), None, owner)
    kept = secrets_archive(secrets, owner)
    assert code and kept
    put(remote.engine, container, output_archive(owner), code, kept)
    assert remote.run(container).splitlines() == ["1234", "print(1)", "hunter2", "ok"]
    assert "hunter2" not in str(remote.engine.api.inspect_container(container))


def test_another_user_of_the_container_cannot_read_secrets(remote: Remote) -> None:
    """Files in /run/secrets are for the user whom the task runs as."""
    secrets = read_secrets({"TOKEN": Secret(env="T")}, {"T": "hunter2"})
    kept = secrets_archive(secrets, Owner(1234, 1234))
    assert kept
    container = remote.container("cat /run/secrets/TOKEN", user="4321:4321")
    put(remote.engine, container, kept)
    assert "hunter2" not in remote.run(container)


def test_much_code_is_sent_in_parts(remote: Remote, tmp_path: Path) -> None:
    """A folder of some megabytes arrives whole."""
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 20_000)
    container = remote.container("wc -c < /data/big.bin")
    code = code_archive(None, str(tmp_path), Owner(0, 0))
    assert code
    put(remote.engine, container, code)
    assert remote.run(container).split() == ["5120000"]


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", (0, 0)),
        ("0", (0, 0)),
        ("7", (7, 0)),
        ("7:9", (7, 9)),
        ("trainer", (1000, 1001)),
        ("1000", (1000, 1001)),
        ("trainer:video", (1000, 44)),
        ("trainer:5", (1000, 5)),
    ],
)
def test_an_owner_is_whom_the_engine_would_take(
    remote: Remote, user: str, owner: tuple[int, int]
) -> None:
    """By number or by name of the image's own /etc/passwd, with a group or without."""
    container = _with_users(remote)
    assert owner_of(remote.engine, user, container) == owner


def test_a_user_whom_the_image_does_not_know_is_named(remote: Remote) -> None:
    """With the host, and what to do."""
    container = _with_users(remote)
    with pytest.raises(HostError, match="h1: the image runs as user nobody2, whom its /etc/passwd"):
        owner_of(remote.engine, "nobody2", container)
    with pytest.raises(HostError, match="group disk, whom its /etc/group"):
        owner_of(remote.engine, "trainer:disk", container)


def test_a_container_that_is_gone_is_a_host_error(remote: Remote) -> None:
    """No exception of a library reaches the user."""
    with pytest.raises(EngineError, match="h1: Docker cannot put files into a container"):
        put(remote.engine, "gone", output_archive(Owner(1, 1)))


def _with_users(remote: Remote) -> str:
    """Create a container whose image has users, behind a link as some images have it."""
    script = (
        "mkdir -p /etc/real; echo trainer:x:1000:1001::/:/bin/sh > /etc/real/passwd; "
        "echo video:x:44:trainer > /etc/group; rm -f /etc/passwd; ln -s real/passwd /etc/passwd"
    )
    container = remote.container(script)
    remote.run(container)
    assert remote.engine.api.inspect_image(BUSYBOX)
    return container
