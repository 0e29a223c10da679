"""`launch …`: what arrives at the trainer, where a run is kept, and what is printed where."""

import json
import os
import pty
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Launching

SHOW_ARGV = "import json, sys; print(json.dumps(sys.argv[1:]))\n"
AS_TYPED = [
    "two words", "", "it's", '"quoted"', "new\nline", "tab\t", "ünï✓", "$HOME", "*", "\\", "a=b;c",
    "--cluster", "other.yaml", "--json", "--", "-h", "--single", "--", "\udcff",
]  # fmt: skip


def arrived(launching: Launching, task: str = "chief-0") -> list[str]:
    value: list[str] = json.loads(launching.log(task))
    return value


def test_a_scripts_arguments_arrive_as_typed(launching: Launching) -> None:
    """All that follows the script is the script's: quotes, spaces, bytes, our own options."""
    launching.cluster()
    launching.write("show.py", SHOW_ARGV)
    done = launching.run("--cluster", "cluster.yaml", "show.py", *AS_TYPED)
    assert done.code == 0, done.err
    assert arrived(launching, "chief-0") == arrived(launching, "worker-0") == AS_TYPED
    plan = json.loads((launching.run_dir() / "plan.json").read_text())
    assert plan["tasks"][0]["argv"][2:] == AS_TYPED


def test_a_commands_arguments_arrive_as_typed(launching: Launching) -> None:
    """All that follows `--` is the command, another `--` too."""
    done = launching.run("--single", "--", sys.executable, "-c", SHOW_ARGV, *AS_TYPED)
    assert done.code == 0, done.err
    assert arrived(launching) == AS_TYPED


def test_a_script_whose_last_word_is_two_dashes(launching: Launching) -> None:
    """A `--` at the very end is the script's own too."""
    launching.write("show.py", SHOW_ARGV)
    done = launching.run("show.py", "--", **{"cwd": launching.folder})
    assert done.code == 2  # there is no cluster.yaml
    assert "cluster.yaml" in done.err
    assert launching.run("--single", "show.py", "--").code == 0
    assert arrived(launching) == ["--"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_arguments_arrive(launching: Launching, words: list[str]) -> None:
    """Whatever arguments are given, the task gets the same."""
    launching.write("show.py", SHOW_ARGV.replace("print(", "open('argv', 'w').write("))
    assert launching.run("--single", "./show.py", *words).code == 0
    assert json.loads((launching.folder / "argv").read_text()) == words


def test_named_trainers_get_the_platforms_arguments(launching: Launching) -> None:
    """A trainer by bare name gets absolute paths before the user's own; a script by path none."""
    launching.write("trainers/mine.py", SHOW_ARGV)
    assert launching.run("--single", "mine", "--num_gpus=7").code == 0
    words = arrived(launching)
    assert [word.partition("=")[0] for word in words] == [
        "--work_dir", "--data_dir", "--output_dir", "--num_gpus", "--log_dir", "--num_gpus",
    ]  # fmt: skip
    assert words[-1] == "--num_gpus=7"
    output = Path(words[2].partition("=")[2])
    assert output == launching.run_dir() / "output/chief-0"
    assert (output / "logs").is_dir()


def test_uai_args(launching: Launching) -> None:
    """`--uai-args` gives a script by path the same."""
    launching.write("mine.py", SHOW_ARGV)
    assert launching.run("--single", "--uai-args", "./mine.py", "x").code == 0
    assert len(arrived(launching)) == 6


def test_json(launching: Launching) -> None:
    """With --json standard output is the report alone, and the logs are on standard error."""
    launching.cluster()
    done = launching.run("--json", "--", "sh", "-c", "echo chatter; exit 4")
    assert done.code == 1
    report = json.loads(done.out)
    assert report == launching.report()
    assert report["outcome"] == "failed"
    assert report["last_lines"] == ["chatter"]
    assert "| chatter" in done.err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_where_runs_are_kept(launching: Launching, how: str) -> None:
    """--runs-dir, else $LAUNCH_RUNS, names the folder of runs."""
    words = ["--runs-dir", "else where"] if how == "option" else []
    launching.env["LAUNCH_RUNS"] = "unused" if how == "option" else "else where"
    assert launching.run(*words, "--single", "--", "true").code == 0
    (run,) = (launching.folder / "else where").iterdir()
    assert run.name.startswith("true-")
    assert not (launching.folder / "unused").exists()


def test_a_runs_dir_that_cannot_be_written(launching: Launching) -> None:
    """Where no run directory can be made nothing starts, and one line says why."""
    launching.write("file", "")
    done = launching.run("--runs-dir", "file/runs", "--single", "--", "touch", "started")
    assert done.code == 2
    assert done.err.endswith("cannot be made: Not a directory\n")
    assert done.err.count("\n") == 1
    assert not (launching.folder / "started").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "no-such-program"], "no-such-program: no such program here"),
        (["--", "./plain.txt"], "./plain.txt: not executable"),
        (["--", ""], "'': no such program here"),
        (["--"], "expected a command after it"),
        (["none.py"], "none.py: no such script"),
        (["mnist_singel"], "did you mean 'mnist_single'?"),
        (["--cluster", "cluster.yaml", "--", "true"], "takes neither --cluster nor --strategy"),
    ],
)
def test_what_cannot_run(launching: Launching, words: list[str], said: str) -> None:
    """What cannot run is refused with 2 before anything is made."""
    launching.write("plain.txt", "")
    done = launching.run("--single", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (launching.folder / "runs").exists()


def test_file_and_line_are_checked_together(launching: Launching) -> None:
    """The problems of the command line and of the file are all said at once; nothing starts."""
    launching.cluster("tasks: {cheif: {}}\nbackend: 7\n")
    done = launching.run("nope")
    assert done.code == 2
    assert len(done.err.splitlines()) >= 3
    for word in ("nope", "cheif", "backend"):
        assert word in done.err
    assert not (launching.folder / "runs").exists()


def on_terminal(launching: Launching, *words: str) -> bytes:
    """Run `launch` with a terminal as its output; return what came there."""
    ours, theirs = pty.openpty()
    process = launching.start(*words, stdout=theirs)
    os.close(theirs)
    shown = bytearray()
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # how a terminal says that everybody has left
        pass
    os.close(ours)
    process.wait(30)
    return bytes(shown)


def test_colour_only_on_a_terminal(launching: Launching) -> None:
    """Prefixes are coloured on a terminal, not with NO_COLOR, and never elsewhere."""
    words = ("--single", "--", "echo", "hi")
    assert b"\x1b[36mchief:0 |\x1b[0m hi" in on_terminal(launching, *words)
    assert "\x1b" not in launching.run(*words).out
    launching.env["NO_COLOR"] = "1"
    assert b"\x1b" not in on_terminal(launching, *words)


def test_nothing_is_read_from_our_input(launching: Launching) -> None:
    """Standard input stays the user's: tasks read /dev/null."""
    done = launching.run("--single", "--", "cat", text_in="secret")
    assert done.code == 0
    assert launching.log("chief-0") == b""


def test_containers_without_docker(launching: Launching) -> None:
    """A cluster for Docker can be planned anywhere; a run says what is missing where, and ends."""
    launching.cluster("image: img:1\ntasks: {chief: {}}\n")
    launching.env["DOCKER_HOST"] = "unix:///no/such.sock"
    assert launching.run("--dry-run", "--", "true").code == 0
    done = launching.run("--", "true")
    assert done.code == 3
    assert (
        "localhost: Docker does not answer: there is no /no/such.sock; install Docker" in done.err
    )
    assert not (launching.folder / "runs").exists()


def test_an_image_goes_with_a_single_task(launching: Launching) -> None:
    """A cluster's image stands in its file."""
    launching.cluster()
    done = launching.run("--image", "img:1", "--", "true")
    assert (done.code, "--image: goes with --single" in done.err) == (2, True)
