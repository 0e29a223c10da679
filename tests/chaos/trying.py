"""One cell tried from its beginning to a clean end, and noted for the table."""

from tests.chaos import after, clocks, disk
from tests.chaos.cells import Cell, Fault, expected
from tests.chaos.table import Row
from tests.chaos.trainers import FAKE, TENSORFLOW, Trainer
from tests.chaos.trial import Seen, Trial
from tests.conftest import Launching, until
from tests.testbed import Testbed
from tests.testbed.python_image import PYTHON


def tried(
    cell: Cell, user: Launching, bed: Testbed | None, rows: list[Row], trainer: Trainer = FAKE,
    image: str = PYTHON,
) -> None:  # fmt: skip
    """Try one cell, note how it went, and check all that must be true afterwards."""
    ground = after.Ground(cell, bed)
    trial = Trial(cell, user, bed, trainer, image)
    seen: Seen | None = None
    problem = "did not come so far"
    try:
        with disk.small(cell, user, bed) as trial.fill, clocks.skewed(cell, bed):
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
        rows.append(Row(cell, trainer.name, outcome, times[0], times[1], problem))


def check(trial: Trial, seen: Seen, ground: after.Ground, bed: Testbed | None) -> None:
    """Check the outcome, who was started again, steps, lines, and that nothing is left."""
    cell, wanted = trial.cell, expected(trial.cell)
    ended = trial.outcome(), seen.code
    assert ended == (wanted.outcome, wanted.code), f"ended otherwise: {ended}\n{seen.told}"
    again = {task for task in cell.tasks if len(trial.attempts(task)) > 1}
    assert again == wanted.again, f"started again: {sorted(again)}\n{seen.told}"
    # TensorFlow may notice a frozen peer before the launcher does.
    is_told = wanted.says in seen.told or trial.trainer is TENSORFLOW
    assert is_told, f"does not say {wanted.says!r}\n{seen.told}"
    if not list(trial.user.folder.glob("runs/*/logs")):  # nothing was begun
        return
    if cell.fault in (Fault.CUT, Fault.CUT_MOVE):
        assert bed is not None
        come_back(trial, bed)
    if cell.fault is Fault.SKEW:
        clocks.check_times(trial)
    after.check_steps(trial, wanted)
    if trial.trainer is not TENSORFLOW:  # whose lines have no numbers
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
