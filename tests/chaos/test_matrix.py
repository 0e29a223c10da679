"""The chaos matrix with a stand-in for the trainer: each cell ends as the table says, and clean."""

from typing import Any

import pytest

from tests.chaos import after, disk
from tests.chaos.cells import Cell, Fault, Kind, When, Where, cells, expected, senseless
from tests.chaos.table import Row
from tests.chaos.trial import Seen, Trial
from tests.conftest import Launching, until
from tests.testbed import Testbed

K, W, F = Kind, Where, Fault
FORMING, TRAINING = When.FORMING, When.TRAINING
#: Cells that the normal test suite runs: one of each fault, wherever it is quickest.
QUICK = {
    Cell(K.MWMS, W.PROCESS, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.PROCESS, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.PROCESS, F.EXIT_1, TRAINING, "ps"),
    Cell(K.PSS_EVALUATOR, W.PROCESS, F.KILL, TRAINING, "evaluator"),
    Cell(K.MWMS, W.PROCESS, F.EXIT_1, FORMING, "worker"),
    Cell(K.MWMS, W.PROCESS, F.NEVER, FORMING, "worker"),
    Cell(K.PSS, W.PROCESS, F.PORT, FORMING, "ps"),
    Cell(K.PSS, W.PROCESS, F.RESUME, TRAINING),
    Cell(K.MWMS, W.PROCESS, F.ATTACH, TRAINING),
    Cell(K.MWMS, W.PROCESS, F.EXIT_0, FORMING, "worker"),
    Cell(K.PSS, W.LOCAL, F.KILL, TRAINING, "chief"),
    Cell(K.MWMS, W.LOCAL, F.EXIT_0, TRAINING, "worker"),
    Cell(K.MWMS, W.HOSTS, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.HOSTS, F.DROP_SSH, TRAINING),
    Cell(K.PSS, W.HOSTS, F.ATTACH, TRAINING),
    Cell(K.MWMS, W.HOSTS, F.RESUME, TRAINING),
    Cell(K.MWMS, W.HOSTS, F.REMOVED, TRAINING, "worker"),
}


def of(where: Where) -> list[Any]:
    """Return the cells of one place as parameters."""
    found = []
    for cell in cells():
        if cell.where is where and not senseless(cell):
            marks = () if cell in QUICK else (pytest.mark.chaos,)
            found.append(pytest.param(cell, id=cell.name, marks=marks))
    return found


@pytest.mark.parametrize("cell", of(Where.PROCESS))
def test_processes(cell: Cell, launching: Launching, rows: list[Row]) -> None:
    """Tasks that are processes of this machine."""
    tried(cell, launching, None, rows)


@pytest.mark.testbed
@pytest.mark.parametrize("cell", of(Where.LOCAL))
def test_local_docker(cell: Cell, user: Launching, python_bed: Testbed, rows: list[Row]) -> None:
    """Tasks in containers of this machine, in a network of their own."""
    tried(cell, user, python_bed, rows)


@pytest.mark.testbed
@pytest.mark.parametrize("cell", of(Where.HOSTS))
def test_hosts(
    cell: Cell, user: Launching, python_bed: Testbed, shared: None, rows: list[Row]
) -> None:
    """Tasks in containers of three hosts, over SSH."""
    tried(cell, user, python_bed, rows)


def test_every_cell_is_told() -> None:
    """There are many cells, no two alike, and those that are not run have a reason."""
    every = list(cells())
    assert len(every) == len(set(every))
    assert sum(not senseless(cell) for cell in every) >= 60
    assert {cell for cell in every if not senseless(cell)} >= QUICK


def tried(cell: Cell, user: Launching, bed: Testbed | None, rows: list[Row]) -> None:
    """Try one cell, note how it went, and check all that must be true afterwards."""
    ground = after.Ground(cell, bed)
    trial = Trial(cell, user, bed)
    seen: Seen | None = None
    problem = "did not come so far"
    try:
        with disk.small(cell, user, bed) as trial.fill:
            seen = trial.perform()
        problem = "was not left as expected"
        check(trial, seen, ground, bed)
        problem = ""
    except AssertionError as error:
        problem = (str(error).splitlines() or [problem])[0][:120].replace("|", "/")
        raise
    finally:
        outcome = f"{trial.outcome()} ({seen.code})" if seen else ""
        times = (seen.recovered_s, seen.ended_s) if seen else (None, None)
        rows.append(Row(cell, "fake", outcome, times[0], times[1], problem))


def check(trial: Trial, seen: Seen, ground: after.Ground, bed: Testbed | None) -> None:
    """Check the outcome, who was started again, steps, lines, and that nothing is left."""
    cell, wanted = trial.cell, expected(trial.cell)
    ended = trial.outcome(), seen.code
    assert ended == (wanted.outcome, wanted.code), f"ended otherwise: {ended}\n{seen.told}"
    again = {task for task in cell.tasks if len(trial.attempts(task)) > 1}
    assert again == wanted.again, f"started again: {sorted(again)}\n{seen.told}"
    assert wanted.says in seen.told, f"does not say {wanted.says!r}\n{seen.told}"
    if not list(trial.user.folder.glob("runs/*/logs")):  # nothing was begun
        return
    if cell.fault in (Fault.CUT, Fault.CUT_MOVE):
        assert bed is not None
        come_back(trial, bed)
    after.check_steps(trial, wanted)
    after.check_lines(trial)
    ground.check_clean(trial.mark, trial.user.run_dir().name)


def come_back(trial: Trial, bed: Testbed) -> None:
    """A host that was cut off comes back: what it holds is collected."""
    assert trial.user.report()["left_on_hosts"]
    bed.hosts[1].heal()
    run = trial.user.run_dir().name
    left = bed.hosts[1].docker("ps", "-q").split()
    if left:
        bed.hosts[1].docker("kill", *left, check=False)
    until(lambda: not bed.hosts[1].docker("ps", "-q"), "its tasks' end")
    done = trial.user.run("collect", run)
    assert done.code == 0, done.out + done.err
