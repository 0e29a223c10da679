"""Where what shall take a folder's place comes together."""

from pathlib import Path

from launcher.files.staging import clear, staging


def test_each_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Two at once do not meet, and nothing stays, however it ended."""
    home = tmp_path / "checkpoints"
    with staging(home) as one, staging(home) as other:
        for path in (one, other):
            path.mkdir()
            (path.parent / ".checkpoints.partial").mkdir()
        one.rename(home)
    assert list(tmp_path.iterdir()) == [home]


def test_what_a_killed_launcher_has_left(tmp_path: Path) -> None:
    """It goes; the folder itself comes back where it had been put aside."""
    home, aside = tmp_path / "checkpoints", tmp_path / ".checkpoints.old"
    for path in (tmp_path / ".checkpoints.x/checkpoints", tmp_path / "checkpoints.1", aside):
        path.mkdir(parents=True)
    (aside / "ckpt-1.index").touch()
    clear(home)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "checkpoints.1"}
    assert (home / "ckpt-1.index").exists()
    aside.mkdir()
    clear(home)
    assert (home / "ckpt-1.index").exists() and not aside.exists()
