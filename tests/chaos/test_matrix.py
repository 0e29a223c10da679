"""The chaos matrix with a stand-in for the trainer: each cell ends as the table says, and clean."""

from typing import Any

import pytest

from tests.chaos.cells import Cell, Fault, Kind, When, Where, cells, senseless
from tests.chaos.table import Row, written
from tests.chaos.trying import tried
from tests.conftest import Launching
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
    Cell(K.MWMS, W.HOSTS, F.SKEW, TRAINING),
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


def test_the_table_is_the_same_whatever_ended_first() -> None:
    """Rows that came from several processes, in any order, stand in the order of the cells."""
    rows = [Row(cell, "fake", "failed (1)", None, 1.5, "") for cell in cells()]
    rows.append(rows[0]._replace(trainer="TensorFlow", problem="ended otherwise"))
    came = [Row.parse(row.as_text()) for row in reversed(rows)]
    assert list(reversed(came)) == rows
    table = written(came, ())
    assert table == written(rows, ())
    lines = [line for line in table.splitlines() if line.startswith(("| MWMS", "| PSS"))]
    assert len(lines) == len(rows)
    assert "| process | SIGKILL | chief | forming |" in lines[0]
    assert lines[-1].startswith("| MWMS (TensorFlow)") and "**failed (1) ended" in lines[-1]


def test_every_cell_is_told() -> None:
    """There are many cells, no two alike, and those that are not run have a reason."""
    every = list(cells())
    assert len(every) == len(set(every))
    assert sum(not senseless(cell) for cell in every) >= 60
    assert {cell for cell in every if not senseless(cell)} >= QUICK
