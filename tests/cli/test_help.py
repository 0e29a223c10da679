"""What `launch --help` says, and how every wrong command line is answered."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher import __version__
from launcher.cli import COMMANDS, RESERVED, main
from launcher.cli.arguments import RUN_OPTIONS, parse, parser
from launcher.cli.help import HELP
from launcher.errors import InputError
from tests.conftest import DEADLINE_S, TWO_TASKS, Launching


def test_help_names_everything() -> None:
    """The help names every option of a run, with its value, and every command."""
    for option in RUN_OPTIONS:
        shown = f"--{option.name} {option.value}" if option.value else f"--{option.name}"
        assert re.search(rf"^  {re.escape(shown)} ", HELP, re.M), shown
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", HELP, re.M), command
        parser(command)


def test_help_names_nothing_else() -> None:
    """What the help calls an option of a run is one."""
    known = {f"--{option.name}" for option in RUN_OPTIONS} | {"--version", "--help", "-h"}
    options = HELP.partition("\noptions:\n")[2].partition("\ncommands:\n")[0]
    assert set(re.findall(r"^  (--?[a-z-]+)", options, re.M)) <= known


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["--json", "--help"]])
def test_help_is_asked_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help that was asked for is on standard output, and a success."""
    assert main(words) == 0
    assert capsys.readouterr() == (HELP, "")


def test_a_trainers_help_is_its_own() -> None:
    """`--help` after the trainer is the trainer's."""
    assert parse(["--single", "x.py", "--help"]).rest == ["x.py", "--help"]


def test_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word the help is on standard error, and the code is that of a wrong line."""
    assert main([]) == 2
    assert capsys.readouterr() == ("", HELP)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"launch {__version__}\n"


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_commands_to_come(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is to come is no trainer's name; the message says how to write one."""
    assert main([word]) == 2
    assert f"./{word}.py" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_options_before_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command stands first; behind options its name is neither it nor a trainer."""
    assert main(["--json", command]) == 2
    assert command in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--clutser", "x"], "did you mean '--cluster'?"),
        (["--cluster"], "--cluster requires argument"),
        (["--strategy", "horovod", "x"], "expected one of auto, multi_worker_mirrored"),
        (["--json=yes", "x"], "--json must not have an argument"),
        (["-x"], "-x not recognized"),
    ],
)
def test_wrong_options(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option is named with what was expected."""
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "options", "rest", "separated"),
    [
        (["x.py", "--json"], {}, ["x.py", "--json"], False),
        (["--json", "x.py", "--cluster", "f"], {"json": ""}, ["x.py", "--cluster", "f"], False),
        (["--cluster=f", "--", "cmd", "--json"], {"cluster": "f"}, ["cmd", "--json"], True),
        (["--", "cmd", "--", "x"], {}, ["cmd", "--", "x"], True),
        (["x.py", "--"], {}, ["x.py", "--"], False),
        (["x.py", "--", "--json"], {}, ["x.py", "--", "--json"], False),
        (["--single"], {"single": ""}, [], False),
    ],
)
def test_whose_word_is_it(
    words: list[str], options: dict[str, str], rest: list[str], separated: bool
) -> None:
    """Options end at the first word that is none; all that follows is the trainer's."""
    assert parse(words) == (options, rest, separated)


WORDS = st.lists(
    st.one_of(
        st.sampled_from([f"--{option.name}" for option in RUN_OPTIONS]),
        st.sampled_from(["--", "-", "cluster.yaml", "x.py", "nope", "mnist_dist", "auto", ""]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    ),
    max_size=6,
)
FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(words=WORDS)
@FUZZ
def test_no_dry_run_ends_in_a_traceback(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever words stand on a dry run's line, it is shown or refused in plain words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(TWO_TASKS)
    (tmp_path / "x.py").write_text("")
    code = main(["--dry-run", *words])
    out, err = capsys.readouterr()
    assert (code == 0 and out) or (code == 2 and err)
    assert not (tmp_path / "runs").exists()


@given(words=WORDS, text=st.text(st.characters(codec="utf-8"), max_size=60))
@FUZZ
def test_no_check_ends_in_a_traceback(
    words: list[str],
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever stands on a check's line and in its file, every answer is in plain words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(text, encoding="utf-8")
    code = main(["check", *words])
    out, err = capsys.readouterr()
    assert (code == 0 and out) or (code == 2 and (out or err))


@pytest.mark.parametrize("words", [["tf-config"], ["exec"], ["completion"]])
@given(more=WORDS)
@FUZZ
def test_no_command_parses_into_a_traceback(words: list[str], more: list[str]) -> None:
    """Every command's own line parses, or is refused by the parser."""
    with contextlib.suppress(SystemExit, InputError):
        parser(words[0]).parse_args(more)


def test_standard_streams_that_are_closed(launching: Launching) -> None:
    """Closed standard streams are as good as /dev/null: no traceback, no mixed-up files."""
    command = f"{sys.executable} -m launcher --single -- sh -c 'echo hi; exit 3' <&- >&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], cwd=launching.folder, env=launching.env, timeout=DEADLINE_S
    )
    assert done.returncode == 1
    assert launching.log("chief-0") == b"hi\n"
    assert launching.report()["outcome"] == "failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_standard_output_that_is_full(launching: Launching) -> None:
    """Output that cannot be written is said on standard error, and is no success."""
    with open("/dev/full", "w") as full:
        done = launching.run("--help", stdout=full)
    assert done.code == 3
    assert done.err == "launch: No space left on device\n"


def test_a_terminal_of_another_encoding(launching: Launching) -> None:
    """Where the terminal cannot show a character, an escape stands for it."""
    launching.env["PYTHONIOENCODING"] = "ascii"
    done = launching.run("--help")
    assert done.code == 0
    assert "\\u2026" in done.out


def test_a_folder_that_is_gone(launching: Launching) -> None:
    """In a folder that was deleted the answer is one line."""
    gone = launching.folder / "gone"
    command = f"mkdir {gone}; cd {gone}; rmdir {gone}; {sys.executable} -m launcher --single -- x"
    env = {**launching.env, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        ["sh", "-c", command], env=env, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 2
    assert done.stderr == "launch: the current folder cannot be used: No such file or directory\n"
