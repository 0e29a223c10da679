"""`launch check`: every problem of a file; the same file is refused by a run."""

import json
import socket

import pytest

from launcher.cli import main
from tests.conftest import Launching

BAD = """\
name: Bad Name
tasks:
  chief: {count: 2}
  worker: {host: nowhere, gpus: two}
  evaluator: {count: 2}
colour: red
timeouts: {grace_s: -1}
"""


def test_every_problem(launching: Launching) -> None:
    """Every problem is printed with file, line and key path; the code is 2."""
    launching.cluster(BAD)
    done = launching.run("check")
    assert done.code == 2
    lines = done.err.splitlines()
    for where in (
        "cluster.yaml:1 name", "cluster.yaml:3 tasks.chief.count", "cluster.yaml:4 tasks.worker",
        "cluster.yaml:5 tasks.evaluator.count", "cluster.yaml:6 colour", "cluster.yaml:7 timeouts",
    ):  # fmt: skip
        assert any(line.startswith(f"launch: {where}") for line in lines), (where, lines)


def test_a_run_refuses_what_check_refuses(launching: Launching) -> None:
    """A run with a bad file says the same, ends with 2 and starts nothing."""
    launching.cluster(BAD)
    checked = launching.run("check")
    done = launching.run("--", "touch", "started")
    assert (done.code, done.err) == (2, checked.err)
    assert {path.name for path in launching.folder.iterdir()} == {"cluster.yaml"}


def test_no_problems(launching: Launching) -> None:
    """A good file is called so, in a line, with what it asks for."""
    launching.cluster("tasks: {chief: {}, worker: {count: 2}}")
    done = launching.run("check")
    assert done.code == 0
    assert done.out == "cluster.yaml: no problems; 3 tasks, process, multi_worker_mirrored\n"


def test_json(launching: Launching) -> None:
    """With --json the problems are JSON, none or many, with the same codes."""
    launching.cluster(BAD)
    done = launching.run("check", "--json")
    assert done.code == 2
    assert {"where", "what"} == set(json.loads(done.out)["problems"][0])
    launching.cluster("tasks: {chief: {}}")
    done = launching.run("check", "cluster.yaml", "--json")
    assert (done.code, json.loads(done.out)["problems"]) == (0, [])


def test_hosts_of_processes(launching: Launching) -> None:
    """For processes `--hosts` checks this machine: fixed ports and the data."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        launching.cluster(f"tasks: {{chief: {{port: {port}}}}}\ndata: {{path: /no/data}}\n")
        done = launching.run("check", "--hosts")
        told = json.loads(launching.run("check", "--hosts", "--json").out)["problems"]
    assert done.code == 3
    assert done.err.splitlines() == [
        f"launch: this machine: port {port}, which chief:0 shall have, is taken",
        "launch: this machine: there is no /no/data; tasks shall see it",
    ]
    assert [problem["where"] for problem in told] == ["this machine", "this machine"]
    launching.cluster("tasks: {chief: {}}")
    assert launching.run("check", "--hosts").code == 0


@pytest.mark.parametrize(
    ("file", "said"),
    [("none.yaml", "no such file"), (".", "cannot be read: Is a directory"), ("", "no such file")],
)
def test_files_that_are_none(
    file: str, said: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no file is said to be none."""
    assert main(["check", file]) == 2
    assert said in capsys.readouterr().err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """`--schema` prints a JSON Schema and reads no file."""
    pytest.importorskip("launcher.schema")
    assert main(["check", "no-such.yaml", "--schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)
