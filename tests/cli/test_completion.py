"""`launch completion`: scripts that shells accept."""

import shutil
import subprocess

import pytest

from launcher.cli import COMMANDS, main
from launcher.cli.arguments import RUN_OPTIONS
from tests.conftest import Launching


def test_bash_sources_it(launching: Launching) -> None:
    """bash takes the script, completes `launch` by it, and offers options and commands."""
    launching.write("completion.bash", launching.run("completion", "bash").out)
    ask = (
        "source completion.bash; complete -p launch; COMP_WORDS=(launch ''); COMP_CWORD=1;"
        "$(complete -p launch | sed 's/.*-F \\([^ ]*\\).*/\\1/') launch '' launch;"
        'echo "${COMPREPLY[@]}"; COMP_WORDS=(launch --); COMP_CWORD=1; COMPREPLY=();'
        "$(complete -p launch | sed 's/.*-F \\([^ ]*\\).*/\\1/') launch -- launch;"
        'echo "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash") or pytest.skip("no bash")
    done = subprocess.run(
        [bash, "--norc", "-c", ask], cwd=launching.folder, capture_output=True, text=True
    )
    assert done.stderr == ""
    how, commands, options = done.stdout.splitlines()
    assert how.startswith("complete") and how.endswith(" launch")
    assert set(COMMANDS) <= set(commands.split())
    assert {f"--{option.name}" for option in RUN_OPTIONS} <= set(options.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell's script names every command and option; the shell parses it where it is."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in (*COMMANDS, *(option.name for option in RUN_OPTIONS)):
        assert word in script
    if shutil.which(shell):
        flag = "-nf" if shell == "tcsh" else "-n"
        subprocess.run([shell, flag], input=script, text=True, check=True)


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """Another shell is refused, and the known ones are named."""
    assert main(["completion", "fish"]) == 2
    assert "zsh" in capsys.readouterr().err
