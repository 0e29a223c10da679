"""The run directory: made new, whole at every moment, and no reason for a run to end."""

import json
from pathlib import Path

import pytest

from launcher.errors import HostError, InputError
from launcher.events import Exited, Start, StartFailed, StopAsked
from launcher.run import Outcome
from launcher.runs import RunDirectory
from launcher.task import CHIEF


def test_events_are_readable_while_it_runs(tmp_path: Path) -> None:
    """Each event and command is a JSON object on a line of its own at once."""
    directory = RunDirectory(str(tmp_path / "a/run"))
    directory.record(Start(CHIEF, 1))
    directory.record(StartFailed(1.0, CHIEF, 1, "because \udcff\n"))
    directory.record(Exited(1.0, CHIEF, 1, -9))
    directory.record(StopAsked(1.0, Outcome.INTERRUPTED))
    lines = (directory.path / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["what"] for event in events] == ["Start", "StartFailed", "Exited", "StopAsked"]
    assert {event.get("task") for event in events} == {"chief:0", None}
    assert events[1]["reason"] == "because \udcff\n"
    assert events[2]["code"] == -9
    assert events[3]["outcome"] == "interrupted"
    assert all(event["time"] > 1e9 for event in events)
    directory.close()
    assert directory.problem == ""


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    """A file that cannot be written whole leaves the old one as it was."""
    directory = RunDirectory(str(tmp_path / "run"))
    directory.write("plan.json", {"a": "é\udcff"})
    assert json.loads((directory.path / "plan.json").read_text("utf-8")) == {"a": "é\udcff"}
    (directory.path / ".plan.json.tmp").mkdir()
    with pytest.raises(HostError, match=r"plan\.json: cannot be written: Is a directory"):
        directory.write("plan.json", {"b": 1})
    assert "é" in (directory.path / "plan.json").read_text("utf-8")
    directory.close()


def test_a_run_directory_is_new(tmp_path: Path) -> None:
    """A folder that is there already is not used again; nor is a place that cannot be made."""
    RunDirectory(str(tmp_path / "run")).close()
    with pytest.raises(InputError, match="cannot be made: File exists"):
        RunDirectory(str(tmp_path / "run"))
    with pytest.raises(InputError, match="cannot be made: File name too long"):
        RunDirectory(str(tmp_path / ("x" * 300)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_noted(tmp_path: Path) -> None:
    """Events that cannot be written are noted once, and raise nothing."""
    directory = RunDirectory(str(tmp_path / "run"))
    directory._events.close()
    directory._events = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    for _ in range(3):
        directory.record(Start(CHIEF, 1))
    directory.close()
    assert directory.problem == "events.jsonl is not whole: No space left on device"
