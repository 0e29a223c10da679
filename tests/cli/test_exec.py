"""`launch exec`: normalise $TF_CONFIG, then be the command."""

import json

import pytest

from tests.conftest import Launching

CLUSTER = {"master": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}


def config(task_type: str) -> str:
    return json.dumps({"cluster": CLUSTER, "task": {"type": task_type, "index": 0}})


def test_it_becomes_the_command(launching: Launching) -> None:
    """The command has our process id, our arguments and our exit code."""
    process = launching.start("exec", "--", "sh", "-c", 'echo "$$ $1"; exit 9', "sh", "a  b")
    out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == (f"{process.pid} a  b\n", 9)


def test_the_command_sees_the_normal_form(launching: Launching) -> None:
    """$TF_CONFIG is in chief form for the command; what was changed is on standard error."""
    launching.env["TF_CONFIG"] = config("master")
    done = launching.run("exec", "--", "sh", "-c", 'echo "$TF_CONFIG"; echo "$LAUNCH_STRATEGY"')
    tf_config, strategy = done.out.splitlines()
    assert json.loads(tf_config)["task"]["type"] == "chief"
    assert json.loads(tf_config)["cluster"]["chief"] == ["a:1"]
    assert strategy == "parameter_server"
    assert "launch: change: cluster.master is now chief" in done.err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_ps_that_nobody_needs(launching: Launching, how: str) -> None:
    """Under multi_worker_mirrored a ps ends at once with 0, and its command never starts."""
    launching.env["TF_CONFIG"] = config("ps")
    words = ["--strategy", "multi_worker_mirrored"] if how == "option" else []
    if how == "environment":
        launching.env["LAUNCH_STRATEGY"] = "multi_worker_mirrored"
    done = launching.run("exec", *words, "--", "touch", "started")
    assert (done.code, done.out) == (0, "")
    assert "ps:0 is not needed" in done.err
    assert not (launching.folder / "started").exists()


def test_without_tf_config(launching: Launching) -> None:
    """Without $TF_CONFIG the command simply runs, and gets none."""
    done = launching.run("exec", "--", "sh", "-c", 'echo "<${TF_CONFIG-none}>"')
    assert done == (0, "<none>\n", "")


def test_words_are_the_commands_own(launching: Launching) -> None:
    """Options and `--` behind the command are the command's."""
    done = launching.run("exec", "--", "echo", "--strategy", "x", "--", "-h")
    assert done == (0, "--strategy x -- -h\n", "")


def test_signals_are_as_they_were(launching: Launching) -> None:
    """What Python ignores is not ignored in the command: a pipeline ends quietly."""
    done = launching.run("exec", "--", "bash", "-c", "yes | head -1; grep SigIgn /proc/$$/status")
    assert done.out.split() == ["y", "SigIgn:", "0000000000000000"]
    assert done.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected -- COMMAND"),
        (["--"], "expected -- COMMAND"),
        (["--", "no-such-program"], "cannot be run: No such file"),
        (["--", "/"], "cannot be run: Permission denied"),
        (["--", ""], "'': cannot be run"),
    ],
)
def test_what_cannot_be_run(launching: Launching, words: list[str], said: str) -> None:
    """A command that is missing or cannot be run is a wrong line: 2."""
    done = launching.run("exec", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_wrong_tf_config(launching: Launching) -> None:
    """A TF_CONFIG that no TensorFlow could use is refused before the command starts."""
    launching.env["TF_CONFIG"] = '{"cluster": {"worker": ["a:1"]}}'
    done = launching.run("exec", "--", "touch", "started")
    assert done.code == 2
    assert not (launching.folder / "started").exists()
    launching.env["LAUNCH_STRATEGY"] = "wrong"
    assert "$LAUNCH_STRATEGY" in launching.run("exec", "--", "true").err


def test_variables_for_the_command(launching: Launching) -> None:
    """`--env` sets variables for the command, where nobody else can; the last word wins."""
    words = ["--env", "A=1", "--env=B=x=y z", "--env", "A=2"]
    done = launching.run("exec", *words, "--", "sh", "-c", 'echo "$A $B"')
    assert done == (0, "2 x=y z\n", "")
    done = launching.run("exec", "--env", "A", "--", "true")
    assert (done.code, done.err) == (2, "launch: --env: expected NAME=VALUE, got 'A'\n")


def test_alone(launching: Launching) -> None:
    """With `--alone` a trainer of clusters runs where nobody has made one; a real one stays."""
    shown = ("--alone", "--", "sh", "-c", 'echo "$TF_CONFIG"')
    assert json.loads(launching.run("exec", *shown).out) == {"cluster": {}}
    launching.env["TF_CONFIG"] = config("master")
    assert json.loads(launching.run("exec", *shown).out)["task"]["type"] == "chief"
