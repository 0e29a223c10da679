"""A folder of this machine comes to every host once, whole, and is used again."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.files.data import DataSync
from launcher.transfer import Progress
from tests.files.conftest import BUSYBOX, Remote
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

FILES = 40
FILE_BYTES = 500_000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mnist"
    (made / "train").mkdir(parents=True)
    for number in range(FILES):
        (made / "train" / f"{number:03}").write_bytes(b"%03d" % number * (FILE_BYTES // 3))
    (made / "a b é").write_text("odd")
    (made / "a b é").chmod(0o600)
    (made / "latest").symlink_to("train/001")
    return made


@pytest.fixture
def short_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every archive holds a few files, so that there is something to go on from."""
    monkeypatch.setattr("launcher.files.data._BATCH_BYTES", 4 * FILE_BYTES)
    monkeypatch.setattr("launcher.files.data._BATCH_S", 0.0)


def sync(
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> DataSync:
    return DataSync(str(folder), on_progress=on_progress, is_cancelled=is_cancelled)


def listing(remote: Remote, volume: str) -> str:
    """Return what a container of any user sees in the volume."""
    container = remote.container(
        "cd /data/output; find . -type f -o -type l | sort | while read -r f; do "
        'echo "$f $(md5sum < "$f")"; done',
        user="1234:1234",
        volume=volume,
    )
    return remote.run(container)


def sent(seen: list[Progress]) -> int:
    """Return how many bytes were sent: those that were there before come first."""
    of_host = [
        each.done_bytes for each in seen if each.what.startswith("data ") and each.total_bytes
    ]
    return of_host[-1] - of_host[0] if of_host else 0


def fillers(remote: Remote) -> list[str]:
    found = remote.engine.api.containers(all=True, filters={"label": "launch.kind=data"})
    return [each["Id"] for each in found]


def test_every_host_gets_all_of_it(remotes: list[Remote], folder: Path) -> None:
    """At once, names and links as they are, to be read by any user; no container stays."""
    data = sync(folder)
    with ThreadPoolExecutor(len(remotes)) as pool:
        names = set(pool.map(lambda each: data.ensure(each.engine, BUSYBOX), remotes))
    assert names == {data.volume()}
    [listed] = {listing(each, data.volume()) for each in remotes}
    assert len(listed.splitlines()) == FILES + 2
    assert listed.splitlines()[0].startswith("./a b é ")
    assert [fillers(each) for each in remotes] == [[]] * len(remotes)


def test_what_is_there_is_used_again(remote: Remote, folder: Path) -> None:
    """A later run sends nothing; changed content goes into a volume of its own."""
    seen: list[Progress] = []
    first = sync(folder, seen.append).ensure(remote.engine, BUSYBOX)
    assert sent(seen) == sync(folder)._content().size_bytes
    seen.clear()
    assert sync(folder, seen.append).ensure(remote.engine, BUSYBOX) == first
    assert sent(seen) == 0
    (folder / "new").touch()
    assert sync(folder).ensure(remote.engine, BUSYBOX) != first


def test_volumes_carry_what_finds_them_again(remote: Remote, folder: Path) -> None:
    """The kind and the content's hash, and nothing of this machine's paths."""
    name = sync(folder).ensure(remote.engine, BUSYBOX)
    found = remote.engine.api.volumes(filters={"label": "launch.kind=data"})["Volumes"]
    assert {each["Name"] for each in found} == {name, f"{name}-complete"}
    assert {each["Labels"]["launch.hash"] for each in found} == {name.removeprefix("launch-data-")}
    assert str(folder) not in str(found)


@pytest.mark.parametrize("fault", ["drop_ssh", "kill_docker", "cancel"])
@pytest.mark.usefixtures("short_archives")
def test_an_interrupted_transfer_goes_on(
    fault: str, remote: Remote, folder: Path, testbed: Testbed
) -> None:
    """What is there is not sent again, and all is whole in the end."""
    whole = FILES * FILE_BYTES
    stop = threading.Event()

    def interrupt(progress: Progress) -> None:
        if progress.done_bytes > whole // 2 and progress.host == "h1" and not stop.is_set():
            stop.set()
            if fault != "cancel":
                getattr(testbed.hosts[0], fault)()

    cancelled = stop.is_set if fault == "cancel" else lambda: False
    with pytest.raises(HostError, match=r"^h1: "):
        sync(folder, interrupt, cancelled).ensure(remote.engine, BUSYBOX)
    testbed.recover()
    seen: list[Progress] = []
    volume = sync(folder, seen.append).ensure(remote.engine, BUSYBOX)
    assert 0 < sent(seen) < whole * 2 // 3
    assert len(listing(remote, volume).splitlines()) == FILES + 2
    assert fillers(remote) == []


def test_two_runs_at_once_send_it_once(remote: Remote, folder: Path) -> None:
    """The second waits for the first, and uses what that has sent."""
    seen: list[list[Progress]] = [[], []]
    with ThreadPoolExecutor(2) as pool:
        runs = [sync(folder, each.append) for each in seen]
        names = set(pool.map(lambda run: run.ensure(remote.engine, BUSYBOX), runs))
    assert len(names) == 1
    assert sorted(bool(sent(each)) for each in seen) == [False, True]


def test_another_machine_that_is_sending_is_not_disturbed(
    remote: Remote, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says who it is, and what to do where it has died."""
    stopped = sync(folder, is_cancelled=lambda: bool(fillers(remote)))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "laptop2")
        with pytest.raises(HostError, match="stopped before"):
            stopped.ensure(remote.engine, BUSYBOX)
    with pytest.raises(HostError, match=r"h1: laptop2:0 is sending the same data there.*docker rm"):
        sync(folder).ensure(remote.engine, BUSYBOX)


def test_a_volume_that_was_removed_is_filled_again(remote: Remote, folder: Path) -> None:
    """That it was complete once says nothing of a new one, whoever makes that."""
    name = sync(folder).ensure(remote.engine, BUSYBOX)
    remote.engine.api.remove_volume(name)
    assert sync(folder).ensure(remote.engine, BUSYBOX) == name
    assert len(listing(remote, name).splitlines()) == FILES + 2


def test_a_volume_of_somebody_else_is_left_alone(remote: Remote, folder: Path) -> None:
    """A volume of that name which the launcher has not made may hold anything."""
    remote.engine.api.create_volume(sync(folder).volume())
    with pytest.raises(HostError, match="was not made by the launcher"):
        sync(folder).ensure(remote.engine, BUSYBOX)


def test_a_file_that_changes_meanwhile_is_named(remote: Remote, folder: Path) -> None:
    """A volume never holds what its name does not say."""
    data = sync(folder)
    volume = data.volume()
    (folder / "train" / "020").write_bytes(b"changed" * 100)
    with pytest.raises(HostError, match="020: changed while it was being sent"):
        data.ensure(remote.engine, BUSYBOX)
    names = [each["Name"] for each in remote.engine.api.volumes()["Volumes"] or ()]
    assert f"{volume}-complete" not in names


def test_a_full_disk_there_is_said(remote: Remote, folder: Path) -> None:
    """With the host's name, in the engine's words."""
    data = sync(folder)
    size = {"type": "tmpfs", "device": "tmpfs", "o": "size=4m"}
    remote.engine.api.create_volume(
        data.volume(), driver_opts=size, labels={"launch.fill": "a small one"}
    )
    with pytest.raises(HostError, match=r"^h1: .*no space left on device"):
        data.ensure(remote.engine, BUSYBOX)
