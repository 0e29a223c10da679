"""README.md promises commands and files; what it shows is run here, so that it stays true."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import config
from launcher.cli import arguments
from launcher.cli.perform import EXIT_CODES
from launcher.cli.platform import own_options
from tests.conftest import until

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONTAINERS = (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")
DEADLINE_S = 240


def blocks(language: str, page: str = README) -> list[str]:
    """Return a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    """Return the lines of README's shell blocks that call a program, without their comments."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [re.sub(r"\s+# .*", "", line) for line in lines if line.startswith(program)]


def run(argv: list[str], cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user with our environment's programs first on the path would."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        argv, cwd=cwd, env={**os.environ, "PATH": path, **environment}, text=True,
        capture_output=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that README's commands name."""
    shutil.copy(REPOSITORY / "cluster.yaml", tmp_path)
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/script.py").write_text("import sys\nprint(sys.argv)\n")
    (tmp_path / "trainer.py").write_text("print('trained')\n")
    (tmp_path / "tf_config.json").write_text(
        '{"cluster": {"master": ["a:1"]}, "task": {"type": "master", "index": "0"}}'
    )
    return tmp_path


@pytest.mark.parametrize("text", [*blocks("yaml"), *blocks("yaml", CONTAINERS)])
def test_yaml_examples_are_right(text: str) -> None:
    """Every cluster.yaml shown is accepted."""
    assert config.parse(text).tasks


def of_platforms() -> list[str]:
    """Return the commands shown that hand a run to a platform, or ask after its jobs."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    found = [re.sub(r"\s+# .*", "", line[2:]) for line in lines]
    return [line for line in found if re.match(r"launch (submit|pack) ", line)]


@pytest.mark.parametrize("line", of_platforms())
def test_commands_of_platforms_are_understood(line: str) -> None:
    """Every option of those commands is known, the platform's own too."""
    command, *words = shlex.split(line)[1:]
    if words[0] in arguments.VERBS:
        assert arguments.parser("submit").parse_intermixed_args(words).job
        return
    known = arguments.PACK_OPTIONS if command == "pack" else arguments.SUBMIT_OPTIONS
    asked = arguments.parse(words, (*known, *own_options(words)), command)
    assert asked.options["platform"] and asked.rest


@pytest.mark.tensorflow
@pytest.mark.parametrize("line", commands("launch "))
def test_commands_work(line: str, folder: Path) -> None:
    """Every `launch` command shown succeeds as it stands there."""
    done = run(shlex.split(line), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    if "mnist" in line and "--dry-run" not in line:
        assert re.search(r"loss=\d\.\d+ accuracy=0\.[89]\d*", done.stdout), done.stdout


@pytest.mark.tensorflow
def test_a_run_outlives_its_terminal(folder: Path) -> None:
    """README's commands for a run in the background do what is said, one after the other."""
    (block,) = [block for block in blocks("console") if "--detach" in block]
    lines = [re.sub(r"\s+# .*", "", line[2:]) for line in block.splitlines()]
    for line in (line for line in lines if "RUN" not in line):
        if line.startswith("launch stop"):
            until(lambda: "epoch 2/" in next(folder.glob("runs/*/console.log")).read_text(), line)
        done = run(shlex.split(line), folder)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        if line.startswith("launch resume"):
            assert "resuming from step" in done.stdout and "succeeded after" in done.stdout


def test_exit_codes_are_listed() -> None:
    """Every exit code of a run stands in README's table."""
    table = README.partition("| exit code |")[2].partition("## ")[0]
    assert all(re.search(rf"\b{code}\b", table) for code in {*EXIT_CODES.values(), 2})


@pytest.mark.tensorflow
def test_main_job(tmp_path: Path) -> None:
    """README's first command trains on the shipped sample, from a copy of what is committed."""
    [line] = commands("scripts/mnist")
    state = run(["sh", "-c", "cksum <pyproject.toml | tr ' ' -"], REPOSITORY).stdout.strip()
    if not any(Path(sys.prefix).glob(f"set-up-*-{state}")):
        pytest.skip("scripts/test has not made this environment, the command would make it anew")
    listed = run(["git", "ls-files", "-z"], REPOSITORY).stdout.split("\0")
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = run(shlex.split(line), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Setting up" not in done.stderr
    assert re.search(r"chief:0 +succeeded", done.stdout)
    assert re.search(r"worker:0 +succeeded", done.stdout)
    [model] = re.findall(r"^model +(.+)$", done.stdout, re.MULTILINE)
    assert (tmp_path / model / "saved_model.pb").is_file()
