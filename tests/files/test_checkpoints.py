"""Checkpoints between home and a host's volume: only what is new, and whole or not at all."""

import base64
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from launcher.errors import HostError
from launcher.files.checkpoint_volume import CheckpointVolume, opened
from launcher.files.checkpoints import Fetched, fetched, take
from launcher.files.checkpoints_given import Given, give, given_before, is_newer, remove_marks
from launcher.files.results import Collected, collect
from launcher.files.stat import Stat, read
from tests.files.conftest import Remote

ADD = r"""
add() {
  head -c ${2:-1000} /dev/zero | tr '\0' $(($1 % 10)) >ckpt-$1.data-00000-of-00001
  printf '\0\0\006\010\001\032\002\010\001' >ckpt-$1.index
}
note() {
  echo "model_checkpoint_path: \"ckpt-$1\"" >.new
  for n; do echo "all_model_checkpoint_paths: \"ckpt-$n\"" >>.new; done
  mv .new checkpoint
}
cd /data/checkpoints
"""


class Place(NamedTuple):
    """A volume of a host, and what fills it as a trainer does."""

    remote: Remote
    volume: CheckpointVolume

    def do(self, script: str) -> str:
        """Run a script in the volume and return what it printed."""
        return self.remote.run(_mounting(self.remote, ADD + script))

    def names(self) -> set[str]:
        return set(self.do("ls -A").split())


def _mounting(remote: Remote, script: str) -> str:
    mount = {"Type": "volume", "Target": "/data/checkpoints", "Source": "launch-r-checkpoints"}
    config = {
        "Image": "launch-testbed/busybox:1",
        "Cmd": ["sh", "-c", script],
        "User": "",
        "HostConfig": {"NetworkMode": "none", "Mounts": [mount]},
    }
    return str(remote.engine.api.create_container_from_config(config)["Id"])


@pytest.fixture
def places(remotes: list[Remote]) -> list[Place]:
    return [
        Place(remote, opened(remote.engine, "r", _mounting(remote, "true")))
        for remote in remotes[:2]
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


def come(place: Place, home: Path) -> tuple[str, ...] | None:
    """Bring home what is new; return its files, None for nothing."""
    found = fetched(place.volume, home, home.with_name(".staging"), lambda: False)
    if found is None:
        return None
    take(found, home)
    assert [path.name for path in home.parent.iterdir()] == [home.name]
    return found.files


def files(*steps: int) -> tuple[str, ...]:
    return tuple(f for n in steps for f in (f"ckpt-{n}.data-00000-of-00001", f"ckpt-{n}.index"))


@pytest.mark.testbed
def test_only_what_is_new_comes_home(places: list[Place], home: Path) -> None:
    """Each checkpoint once; what the chief has dropped goes here; what it has not named stays."""
    place = places[0]
    assert come(place, home) is None
    assert not home.exists()
    place.do("mkdir ckpt-5_temp; echo half >ckpt-5_temp/part; add 5")
    assert come(place, home) == ()  # nothing tells yet what this is
    place.do("rm -r ckpt-5_temp; add 10 6000000; note 10 5; add 15")
    assert come(place, home) == files(10, 5)
    assert set(os.listdir(home)) == {*files(5, 10), "checkpoint"}
    assert (home / files(10)[0]).read_bytes() == b"0" * 6_000_000
    assert come(place, home) is None
    place.do("note 15 10; rm ckpt-5.*")
    assert come(place, home) == files(15)
    assert set(os.listdir(home)) == {*files(10, 15), "checkpoint"}
    assert 'model_checkpoint_path: "ckpt-15"' in (home / "checkpoint").read_text()


@pytest.mark.testbed
def test_what_is_not_whole_does_not_count(places: list[Place], home: Path) -> None:
    """A checkpoint that the note names and that is gone, or lacks a file, is none here."""
    place = places[0]
    place.do("add 5; add 10; note 10 5; rm ckpt-10.data*")
    assert come(place, home) == files(5)
    assert 'model_checkpoint_path: "ckpt-5"' in (home / "checkpoint").read_text()
    before = sorted(os.listdir(home))
    place.do("note 99; rm ckpt-5.*")
    assert come(place, home) is None
    place.do("rm checkpoint")  # a trainer that begins anew takes nothing away
    assert come(place, home) is None
    assert sorted(os.listdir(home)) == before


@pytest.mark.testbed
def test_other_checkpoints_come_as_a_folder(places: list[Place], home: Path) -> None:
    """Where there is no note: all of it when anything has changed, and nothing otherwise."""
    place = places[0]
    place.do("mkdir a; echo 1 >a/step; touch -d @1000 a/step a .")
    assert come(place, home) == ()
    assert (home / "a/step").read_text() == "1\n"
    assert come(place, home) is None
    place.do("echo 2 >a/step; touch -d @1000 a .")
    assert come(place, home) == ()
    assert (home / "a/step").read_text() == "2\n"


@pytest.mark.testbed
def test_what_changes_while_it_is_copied(
    places: list[Place], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a folder is not taken: it may hold half a checkpoint."""
    place = places[0]
    place.do("echo 1 >step; touch -d @1000 step .")

    def copied(*words: Any, **more: Any) -> Collected:
        got = collect(*words, **more)
        place.do("echo 1 >>step")
        return got

    monkeypatch.setattr("launcher.files.checkpoints.collect", copied)
    with pytest.raises(HostError, match="h1: checkpoints change while they are copied"):
        come(place, home)
    assert not home.exists()


@pytest.mark.testbed
def test_only_what_is_lacking_is_given(places: list[Place], home: Path) -> None:
    """Another host's volume comes to hold what is home; what is dropped gives its room back."""
    chief, other = places
    chief.do("add 5; note 5")
    come(chief, home)
    given: Given = {}
    assert is_newer(other.volume, home)
    assert give(other.volume, home, given, lambda: False)
    assert not give(other.volume, home, given, lambda: False)
    assert not is_newer(other.volume, home)
    assert other.names() == {*files(5), "checkpoint", ".checkpoint.launch"}
    assert other.do("cat checkpoint") == (home / "checkpoint").read_text()
    other.do("echo mark >>ckpt-5.data-00000-of-00001")

    chief.do("add 10 3000000; note 10 5")
    come(chief, home)
    assert is_newer(other.volume, home)
    assert give(other.volume, home, given, lambda: False)
    assert "mark" in other.do("cat ckpt-5.data*")  # it was not sent again
    assert other.do("wc -c <ckpt-10.data-00000-of-00001").strip() == "3000000"

    chief.do("note 10; rm ckpt-5*")
    come(chief, home)
    assert given_before(other.volume) == given  # another launcher knows too
    with pytest.raises(HostError, match="h2: stopped before the checkpoints were there"):
        give(other.volume, home, given, lambda: True)
    assert set(given) == {"ckpt-5", "ckpt-10"}
    assert give(other.volume, home, given, lambda: False)
    assert other.do("cat ckpt-5*") == ""
    assert other.do("sed -n 2p checkpoint") == 'all_model_checkpoint_paths: "ckpt-10"\n'
    assert set(given) == set(given_before(other.volume)) == {"ckpt-10"}


@pytest.mark.testbed
def test_a_folder_is_given(places: list[Place], home: Path) -> None:
    """Also where nothing is known of what lies in it."""
    chief, other = places
    chief.do("mkdir a; echo 1 >a/step")
    come(chief, home)
    other.do("mkdir a; echo 0 >a/step; touch -d @1000 a/step")
    assert give(other.volume, home, {}, lambda: False)
    assert other.do("cat a/step") == "1\n"
    assert not give(other.volume, home, {}, lambda: False)
    assert not is_newer(other.volume, home)  # nobody can tell


def test_marks_of_giving(tmp_path: Path) -> None:
    """What was emptied, and what is written beside its place, goes; the rest is a trainer's own."""
    own = {
        *files(10),
        *("checkpoint", "empty", "deep/step", ".hidden"),
        *("ckpt-5.data-00000-of-00001.bak", "ckpt-12.data-00000-of-00001"),
    }
    for name in (*own, *files(5), ".checkpoint.launch", "deep/.step.launch"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "ckpt-10.index").write_text("index")
    assert remove_marks(tmp_path) == 4
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {*own, "deep"}


def test_a_whole_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    """What lay there is gone; nothing is left beside it."""
    home, staging = tmp_path / "checkpoints", tmp_path / ".staging"
    for folder, name in ((home, "old"), (staging, "new")):
        folder.mkdir()
        (folder / name).touch()
    take(Fetched(staging), home)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [
        Path("checkpoints"), Path("checkpoints/new"),
    ]  # fmt: skip


def test_what_an_engine_tells_of_a_path() -> None:
    """Sizes, times in whole seconds wherever the host's clock stands, and what it is."""

    def told(mode: int, mtime: str) -> Stat:
        said = {"name": "x", "size": 7, "mode": mode, "mtime": mtime, "linkTarget": ""}
        return read(base64.b64encode(json.dumps(said).encode()).decode())

    assert told(0o644, "2026-01-02T03:04:05.987654321Z") == Stat(7, 1767323045, True, False)
    assert told(0o644, "2026-01-02T05:04:05+02:00").mtime_s == 1767323045
    assert told(1 << 31 | 0o755, "2026-01-02T03:04:05Z")[2:] == (False, True)
    assert told(1 << 27 | 0o777, "2026-01-02T03:04:05Z")[2:] == (False, False)
