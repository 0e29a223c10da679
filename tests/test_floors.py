"""The floors of the house: imports point to the same floor or below, effects stay on theirs.

0  values and rules            3  supervisor, report
1  decisions                   4  the command line
2  what touches a machine      apart: training, which runs inside a task
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
APART = "launcher.training"
FLOORS: dict[str, int] = {
    **dict.fromkeys(
        ["errors", "names", "address", "cluster", "task", "strategy", "markers", "tf_config"], 0
    ),
    **dict.fromkeys(
        ["container", "table", "hints", "cluster_file", "size", "transfer", "option", "user"], 0
    ),
    **dict.fromkeys(["nodes", "decode", "consistency", "config"], 1),
    **dict.fromkeys(
        [
            "checkpoint_state",
            "claim",
            "gpus",
            "creation",
            "questions",
            "diagnosis",
            "signs",
            "layout",
            "orphans",
            "placed",
            "placement",
            "plan",
            "lifecycle",
            "recovery",
            "due",
            "changes",
            "events",
            "run",
            "observed",
            "telling",
            "ports",
            "plan_label",
            "replanning",
            "schema",
        ],
        1,
    ),
    **dict.fromkeys(["backends", "claims", "logs", "runs", "facts", "gpus_here", "trainer"], 2),
    **dict.fromkeys(
        ["host_clock", "engine", "hosts", "ssh", "images", "files", "container_logs", "lean"], 2
    ),
    **dict.fromkeys(["transfers", "provision", "results", "inside", "preflight", "building"], 2),
    **dict.fromkeys(["at_once", "homing"], 2),
    **dict.fromkeys(["supervision", "lease", "heritage", "leftovers"], 2),
    **dict.fromkeys(
        [
            "found",
            "overview",
            "runs_here",
            "log_sources",
            "logs_on_hosts",
            "planned",
            "garbage",
            "sweeping",
        ],
        2,
    ),
    "logins": 2,
    **dict.fromkeys(["stacks", "event_files", "execution"], 2),
    **dict.fromkeys(["together", "notebook"], 2),
    **dict.fromkeys(
        ["supervisor", "places", "stop_signals", "report", "blame", "lookout", "platforms"], 3
    ),
    **dict.fromkeys(["readings", "connectivity", "survey"], 2),
    **dict.fromkeys(["claiming", "claim_notes", "host_claims", "moving"], 2),
    "cli": 4,
    "__main__": 4,
}
EFFECTS = {"paramiko", "docker", "threading", "subprocess", "time", "random", "socket", "_socket"}
TENSORFLOW = {"tensorflow", "keras", "tf_keras"}
TRAINING_SEES = {"task", "strategy", "tf_config", "markers", "errors", "names", "address"}
TRAINERS_SEE = {"launcher.training", "launcher.errors", "launcher.tf_config", "launcher.strategy"}


class Import(NamedTuple):
    """One import statement, wherever in a file it stands."""

    file: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    """Yield every module that a file imports, those inside functions too."""
    file = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text(), file)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(file, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for name in node.names:
                yield Import(file, node.lineno, resolved(str(node.module), name.name))


def resolved(package: str, name: str) -> str:
    """Return the module that `from package import name` reads."""
    inner = ROOT.joinpath(*package.split("."), name)
    is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
    return f"{package}.{name}" if is_module else package


def part(module: str) -> str:
    """Return the part of the launcher that a module belongs to; `launcher` itself is no part."""
    return module.split(".")[1] if "." in module else ""


LAUNCHER = sorted((ROOT / "launcher").rglob("*.py"))
INSIDE_TASKS = [path for path in LAUNCHER if module_of(path).startswith(APART)]
OUTSIDE = [path for path in LAUNCHER if path not in INSIDE_TASKS]
TRAINERS = sorted((ROOT / "trainers").glob("*.py"))


def floor(path: Path) -> int:
    return FLOORS.get(part(module_of(path)), 0)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_part_has_a_floor() -> None:
    """A new module of the launcher is given a floor here, and none that is gone keeps one."""
    parts = {part(module_of(path)) for path in OUTSIDE} - {""}
    assert parts == set(FLOORS)


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    """A module imports from its own floor and those below, and never what runs inside tasks."""
    wrong = [
        str(found)
        for found in imports_of(path)
        if found.module.split(".")[0] == "launcher"
        and FLOORS.get(part(found.module), 0 if found.module == "launcher" else 99) > floor(path)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in OUTSIDE if floor(path) < 2], ids=name_of)
def test_the_pure_floors_touch_nothing(path: Path) -> None:
    """Floors 0 and 1 know no clock, thread, process, chance or network."""
    wrong = [str(found) for found in imports_of(path) if found.module.split(".")[0] in EFFECTS]
    assert wrong == []


@pytest.mark.parametrize("path", OUTSIDE, ids=name_of)
def test_only_training_imports_tensorflow(path: Path) -> None:
    """The launcher itself never needs TensorFlow."""
    wrong = [str(found) for found in imports_of(path) if found.module.split(".")[0] in TENSORFLOW]
    assert wrong == []


@pytest.mark.parametrize("path", INSIDE_TASKS, ids=name_of)
def test_training_sees_only_the_rules(path: Path) -> None:
    """What runs inside a task knows values and rules of floor 0, and no more of the launcher."""
    wrong = [
        str(found)
        for found in imports_of(path)
        if found.module.split(".")[0] == "launcher"
        and part(found.module) not in {*TRAINING_SEES, "training"}
    ]
    assert wrong == []


@pytest.mark.parametrize("path", TRAINERS, ids=name_of)
def test_trainers_see_only_training(path: Path) -> None:
    """A trainer stands on the public API, as a user's own would."""
    wrong = [
        str(found)
        for found in imports_of(path)
        if found.module.split(".")[0] == "launcher" and found.module not in TRAINERS_SEE
    ]
    assert wrong == []


def ends_or_prints(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "exit", "quit", "sys.exit", "os._exit", "os.abort"):
            yield f"{name_of(path)}:{node.lineno} calls {called}"


@pytest.mark.parametrize("path", [p for p in OUTSIDE if floor(p) < 4], ids=name_of)
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    """Printing and exit codes are the command line's alone."""
    assert list(ends_or_prints(path)) == []


ONCE_DECIDED = {
    "lifecycle",
    "recovery",
    "due",
    "lookout",
    "changes",
    "events",
    "run",
    "observed",
    "telling",
    "supervision",
    "backends",
    "claims",
    "logs",
    "runs",
    "supervisor",
    "places",
    "report",
    "blame",
    "stacks",
    "event_files",
}
OF_CONTAINERS = {
    "host_clock",
    "engine",
    "hosts",
    "ssh",
    "images",
    "files",
    "container_logs",
    "preflight",
}
OF_CONTAINERS = {"engine", "hosts", "ssh", "images", "files", "container_logs", "preflight"}
OF_CONTAINERS |= {"host_clock", "lease", "heritage", "homing", "plan_label", "replanning"}
OF_CONTAINERS |= {
    "claim",
    "claiming",
    "moving",
    "claim_notes",
    "host_claims",
    "building",
    "creation",
    "inside",
    "lean",
    "connectivity",
    "execution",
    "logins",
    "provision",
    "readings",
    "survey",
    "results",
    "transfers",
    *(
        "found",
        "overview",
        "runs_here",
        "planned",
        "garbage",
        "sweeping",
        "log_sources",
        "logs_on_hosts",
    ),
}
# what only some plans, or another command, need
LAZY = {"gpus_here", "platforms", "together", "notebook"}
START_UP = sorted(set(FLOORS) - ONCE_DECIDED - OF_CONTAINERS - LAZY - {"schema", "cli", "__main__"})
SLOW = {"dataclasses", "pathlib", "inspect", "subprocess", "socket"}


@pytest.mark.parametrize("name", START_UP)
def test_what_every_start_imports_is_light(name: str) -> None:
    """The modules of a dry run import nothing that would cost a good part of a bare start."""
    paths = [path for path in LAUNCHER if part(module_of(path)) == name]
    found = [each for path in paths for each in imports_of(path)]
    assert paths and [str(f) for f in found if f.module.split(".")[0] in SLOW] == []
