"""What launcher.trainer promises: a word becomes the script or command that the user meant."""

import os
from pathlib import Path

import pytest

from launcher import trainer
from launcher.errors import InputError


@pytest.fixture
def cwd(tmp_path: Path) -> str:
    """A folder with a trainer, a script and a folder that is named like a script."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "mine.py").touch()
    (tmp_path / "trainers" / "notes.txt").touch()
    (tmp_path / "script.py").touch()
    (tmp_path / "folder.py").mkdir()
    return str(tmp_path)


def test_a_bare_name_is_a_trainer_here(cwd: str) -> None:
    """NAME is trainers/NAME.py of the working directory, and gets the platform's arguments."""
    job = trainer.find("mine", ["--a", "b c"], cwd)
    assert job.script == f"{cwd}/trainers/mine.py"
    assert (job.name, job.args, job.cwd) == ("mine", ("--a", "b c"), cwd)
    assert job.platform_args
    assert job.data_dir == f"{cwd}/trainers/data"


def test_an_installed_trainer_is_found(cwd: str) -> None:
    """A name that is not here is looked up among the installed trainers, as an absolute path."""
    job = trainer.find("mnist_single", [], cwd)
    assert job.script is not None
    assert Path(job.script).name == "mnist_single.py"
    assert os.path.isabs(job.script)
    assert ".." not in job.script
    assert Path(job.data_dir, "mnist.npz").is_file()


def test_ours_come_after_the_users(cwd: str) -> None:
    """A trainer of the working directory stands before an installed one of the same name."""
    Path(cwd, "trainers", "mnist_single.py").touch()
    assert trainer.find("mnist_single", [], cwd).script == f"{cwd}/trainers/mnist_single.py"


@pytest.mark.parametrize("word", ["script.py", "./script.py", "trainers/../script.py"])
@pytest.mark.parametrize("uai_args", [False, True])
def test_a_path_is_any_script(cwd: str, word: str, uai_args: bool) -> None:
    """A path names any script, which gets the platform's arguments only when it is asked for."""
    job = trainer.find(word, [], cwd, uai_args=uai_args)
    assert (job.name, job.script) == ("script", f"{cwd}/script.py")
    assert job.platform_args is uai_args


def test_absolute_and_home_paths(cwd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute paths and those of the home folder are found from anywhere."""
    monkeypatch.setenv("HOME", cwd)
    for word in (f"{cwd}/script.py", "~/script.py"):
        assert trainer.find(word, [], "/").script == f"{cwd}/script.py"


@pytest.mark.parametrize(
    "args", [[], ["--x=1"], ["a b", "'q'", '"', "", "--", "-v", "*", "$HOME", "é\n"]]
)
def test_arguments_stay_as_typed(cwd: str, args: list[str]) -> None:
    """Flags, quotes, spaces and empty words arrive as they were typed."""
    assert trainer.find("mine", args, cwd).args == tuple(args)
    assert trainer.command(["prog", *args], cwd).args == ("prog", *args)


def test_a_command_is_run_as_it_is(cwd: str) -> None:
    """After `--` stands a command: no script, none of our arguments, named after its program."""
    job = trainer.command(["/usr/bin/python3.11", "-c", "pass"], cwd)
    assert (job.script, job.args) == (None, ("/usr/bin/python3.11", "-c", "pass"))
    assert not job.platform_args
    assert job.name.startswith("python3")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("mien", "mien: no such trainer, did you mean 'mine'? (expected one of "),
        ("xyzzy", "xyzzy: no such trainer (expected one of "),
        ("notes", "notes: no such trainer"),
        ("lost.py", "lost.py: no such script"),
        ("./mine", "./mine: no such script"),
        ("folder.py", "folder.py: no such script"),
        ("", ": no such trainer"),
    ],
)
def test_what_is_not_there(cwd: str, word: str, problem: str) -> None:
    """A word that names nothing is refused, with the nearest trainer and all there are."""
    with pytest.raises(InputError) as raised:
        trainer.find(word, [], cwd)
    assert str(raised.value).startswith(problem.removeprefix(": ") if not word else problem)


def test_no_command(cwd: str) -> None:
    """`--` without a command is refused."""
    with pytest.raises(InputError, match="--: expected a command after it"):
        trainer.command([], cwd)
