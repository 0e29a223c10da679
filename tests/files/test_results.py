"""Results come home whole, or the error says why not and what lay here stays."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.errors import HostError
from launcher.files.results import Collected, collect
from launcher.transfer import Progress
from tests.files.conftest import Remote
from tests.testbed import Testbed

pytestmark = pytest.mark.testbed

MUCH = (
    "mkdir -p d; i=0; while [ $i -lt 300 ]; do head -c 100000 /dev/urandom > d/$i; i=$((i+1)); done"
)
MUCH_BYTES = 30_000_000


def brought(
    remote: Remote,
    container: str,
    home: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Collected:
    return collect(
        remote.engine, container, "/data/output", home,
        on_progress=on_progress, is_cancelled=is_cancelled,
    )  # fmt: skip


def filled(remote: Remote, script: str) -> str:
    container = remote.container(f"cd /data/output; {script}")
    assert remote.run(container) == ""
    return container


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "output" / "worker-0"


def only(home: Path) -> None:
    """Nothing of an attempt stays beside the folder."""
    assert [path.name for path in home.parent.iterdir()] in ([], [home.name])


def test_a_few_files_come_home(remote: Remote, home: Path) -> None:
    """With their folders, links and modes, as files of the launching user."""
    script = "mkdir a; echo 12 > a/b; ln -s a/b l; ln -s /data/output/a/b m; chown -R 7:7 a"
    container = filled(remote, script)
    assert brought(remote, container, home) == Collected(files=1, size_bytes=3)
    for name in ("a/b", "l", "m"):
        assert (home / name).read_text() == "12\n"
    assert (home / "a" / "b").stat().st_uid == os.geteuid()
    only(home)


def test_nothing_is_a_result_too(remote: Remote, home: Path) -> None:
    """A task that wrote nothing has an empty folder."""
    assert brought(remote, filled(remote, "true"), home) == Collected(0, 0)
    assert list(home.iterdir()) == []


def test_many_files_come_home(remote: Remote, home: Path) -> None:
    """More than fits into one read, with progress up to the last byte."""
    seen: list[Progress] = []
    got = brought(remote, filled(remote, MUCH), home, on_progress=seen.append)
    assert got == Collected(300, MUCH_BYTES)
    assert sum(path.stat().st_size for path in home.glob("d/*")) == MUCH_BYTES
    done = [each.done_bytes for each in seen]
    assert done == sorted(done) and done[-1] > MUCH_BYTES
    assert [each.is_done for each in seen].index(True) == len(seen) - 1
    assert {(each.host, each.what) for each in seen} == {("h1", "results of worker-0")}


def test_a_large_sparse_file_comes_home(remote: Remote, home: Path) -> None:
    """A file of 300 MB of which the task wrote one byte."""
    got = brought(remote, filled(remote, "dd if=/dev/zero of=f bs=1 count=1 seek=300M 2>&-"), home)
    assert got.size_bytes == (home / "f").stat().st_size == 300 * 2**20 + 1


def test_later_results_take_the_place_of_earlier_ones(remote: Remote, home: Path) -> None:
    """What is gone there is gone here; nothing of the old is left beside it."""
    container = remote.container("cd /data/output; rm -f *; echo $(date +%N) > $(date +%N)")
    for _ in range(2):
        remote.run(container)
        assert brought(remote, container, home).files == 1
        assert len(list(home.iterdir())) == 1
    only(home)


def test_what_an_interrupted_attempt_left_is_replaced(remote: Remote, home: Path) -> None:
    """Also where a launcher was killed."""
    left = home.with_name(".worker-0.partial")
    left.mkdir(parents=True)
    (left / "half").write_text("")
    assert brought(remote, filled(remote, "echo 1 > f"), home).files == 1
    assert [path.name for path in home.iterdir()] == ["f"]
    only(home)


def test_what_is_not_brought_is_named(remote: Remote, home: Path) -> None:
    """Pipes and links out of the folder stay away, and the rest comes."""
    got = brought(remote, filled(remote, "mkfifo p; ln -s /etc/passwd q; echo 1 > f"), home)
    assert got.files == 1
    assert [each.partition(":")[0] for each in got.skipped] == ["p", "q"]
    assert [path.name for path in home.iterdir()] == ["f"]


@pytest.mark.parametrize("fault", ["drop_ssh", "kill_docker"])
def test_a_stream_that_breaks_is_an_error(
    fault: str, remote: Remote, home: Path, testbed: Testbed
) -> None:
    """With the host's name; what lay here stays, and a next attempt brings everything."""
    home.mkdir(parents=True)
    (home / "old").write_text("")
    container = filled(remote, MUCH)
    broken: list[int] = []

    def break_once(progress: Progress) -> None:
        if progress.done_bytes > MUCH_BYTES // 3 and not broken:
            broken.append(1)
            getattr(testbed.hosts[0], fault)()

    with pytest.raises(HostError, match=r"^h1: "):
        brought(remote, container, home, on_progress=break_once)
    assert [path.name for path in home.iterdir()] == ["old"]
    only(home)
    testbed.recover()
    assert brought(remote, container, home).files == 300


def test_it_stops_when_cancelled(remote: Remote, home: Path) -> None:
    """In the middle, with nothing left here."""
    seen: list[int] = []
    with pytest.raises(HostError, match="h1: stopped before the results of worker-0 were home"):
        brought(
            remote, filled(remote, MUCH), home,
            on_progress=lambda progress: seen.append(progress.done_bytes),
            is_cancelled=lambda: bool(seen) and seen[-1] > MUCH_BYTES // 2,
        )  # fmt: skip
    only(home)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("script", [MUCH, "head -c 3000000 /dev/zero > f; cp f g; cp f h"])
def test_a_full_disk_here_is_named(script: str, remote: Remote, small_disk: Path) -> None:
    """With the path; what had come is removed again."""
    home = small_disk / "chief-0"
    with pytest.raises(HostError, match=r"chief-0: cannot be written: .*No space left on device"):
        brought(remote, filled(remote, script), home)
    only(home)


def test_a_container_that_is_gone_is_an_error(remote: Remote, home: Path) -> None:
    """The engine's own words, behind the host's name."""
    with pytest.raises(HostError, match=r"h1: Docker .*No such container"):
        brought(remote, "gone", home)
    only(home)
