"""A handful of the matrix' cells with TensorFlow: the stand-in must not be all there is."""

import pytest

from tests.chaos.cells import Cell, Fault, Kind, When, Where
from tests.chaos.table import Row
from tests.chaos.trainers import TENSORFLOW
from tests.chaos.trying import tried
from tests.conftest import Launching
from tests.testbed import Testbed

K, W, F = Kind, Where, Fault
TRAINING = When.TRAINING
PROCESSES = [
    Cell(K.MWMS, W.PROCESS, F.KILL, TRAINING, "worker"),
    Cell(K.MWMS, W.PROCESS, F.KILL, TRAINING, "chief"),
    Cell(K.MWMS, W.PROCESS, F.STOP, TRAINING, "worker"),
    Cell(K.MWMS, W.PROCESS, F.RESUME, TRAINING),
    Cell(K.MWMS, W.PROCESS, F.ATTACH, TRAINING),
    Cell(K.PSS, W.PROCESS, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.PROCESS, F.KILL, TRAINING, "chief"),
    Cell(K.PSS, W.PROCESS, F.KILL, TRAINING, "ps"),
    Cell(K.PSS, W.PROCESS, F.STOP, TRAINING, "worker"),
    Cell(K.PSS, W.PROCESS, F.RESUME, TRAINING),
    Cell(K.PSS_EVALUATOR, W.PROCESS, F.KILL, TRAINING, "evaluator"),
]
CONTAINERS = [
    Cell(K.MWMS, W.LOCAL, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.LOCAL, F.KILL, TRAINING, "ps"),
    Cell(K.MWMS, W.HOSTS, F.KILL, TRAINING, "worker"),
    Cell(K.PSS, W.HOSTS, F.KILL, TRAINING, "chief"),
    Cell(K.PSS, W.HOSTS, F.ATTACH, TRAINING),
]

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.tensorflow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("tensorflow"),  # one at a time, and one process that has the image
]


@pytest.mark.parametrize("cell", PROCESSES, ids=lambda cell: cell.name)
def test_processes(cell: Cell, launching: Launching, rows: list[Row]) -> None:
    """Tasks that are processes of this machine."""
    tried(cell, launching, None, rows, TENSORFLOW)


@pytest.mark.testbed
@pytest.mark.parametrize("cell", CONTAINERS, ids=lambda cell: cell.name)
def test_containers(
    cell: Cell, user: Launching, tensorflow_image: str, python_bed: Testbed, rows: list[Row],
    shared: None,
) -> None:  # fmt: skip
    """Tasks in containers, here and on three hosts."""
    tried(cell, user, python_bed, rows, TENSORFLOW, tensorflow_image)
