"""`launch tf-config`: a TF_CONFIG from anywhere, in chief form, each change explained."""

import json

import pytest

from tests.conftest import Launching

OLD = {
    "cluster": {"master": ["a:1"], "worker": ["b:1"]},
    "task": {"type": "master", "index": "0"},
    "environment": "cloud",
}
NEW = {
    "cluster": {"chief": ["a:1"], "worker": ["b:1"]},
    "task": {"type": "chief", "index": 0},
    "environment": "cloud",
}


@pytest.mark.parametrize("place", ["file", "stdin", "environment"])
def test_places(launching: Launching, place: str) -> None:
    """From a file, standard input or $TF_CONFIG the same comes out: JSON, and the reasons apart."""
    text = json.dumps(OLD)
    words = {"file": ["given.json"], "stdin": ["-"], "environment": []}[place]
    launching.write("given.json", text)
    if place == "environment":
        launching.env["TF_CONFIG"] = text
    done = launching.run("tf-config", *words, text_in=text if place == "stdin" else "")
    assert done.code == 0
    assert json.loads(done.out) == NEW
    changes = done.err.splitlines()
    assert len(changes) == 3
    assert all(line.startswith("change: ") and line.count(": ") >= 2 for line in changes)


def test_twice_is_once(launching: Launching) -> None:
    """Normalising what was normalised changes nothing and says nothing."""
    first = launching.run("tf-config", "-", text_in=json.dumps(OLD))
    second = launching.run("tf-config", "-", text_in=first.out)
    assert second == (0, first.out, "")


def test_json(launching: Launching) -> None:
    """With --json the findings and the strategy are on standard output too."""
    done = launching.run("tf-config", "--json", "-", text_in=json.dumps(OLD))
    value = json.loads(done.out)
    assert value["tf_config"] == NEW
    assert value["strategy"] == "multi_worker_mirrored"
    assert {finding["kind"] for finding in value["findings"]} == {"change"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "stdin line 1 column 2: not JSON"),
        ("[1]", "expected a JSON object, got a list"),
        ('{"cluster": {"wroker": ["a:1"]}}', "did you mean 'worker'?"),
        ("[" * 100_000, "not JSON"),
        ("\udcff", "not UTF-8 text, byte 0"),
    ],
)
def test_wrong_ones(launching: Launching, text: str, said: str) -> None:
    """What is wrong is named with its place; the code is 2."""
    done = launching.run("tf-config", "-", text_in=text)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_nothing_to_read(launching: Launching) -> None:
    """Without a file and without $TF_CONFIG the answer says what was expected."""
    done = launching.run("tf-config")
    assert done.code == 2
    assert "$TF_CONFIG: not set; expected it, a FILE or - for stdin" in done.err
    assert "none.json: cannot be read" in launching.run("tf-config", "none.json").err
