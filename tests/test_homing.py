"""When checkpoints are copied, and what waits for it; hosts' volumes are stood in for by functions.

What is copied, and that it is whole, is tested on hosts: files/test_checkpoints.py and
containers/test_homing.py.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher.address import Address
from launcher.backends.made import Made
from launcher.checkpoint_state import CheckpointState
from launcher.container import Container
from launcher.errors import HostError
from launcher.files.checkpoints import Fetched, state_of
from launcher.homing import Homing
from launcher.hosts import Machine
from launcher.layout import CONTAINER_CHECKPOINT_DIR
from launcher.plan import HOST_NETWORK, Plan
from launcher.task import CHIEF, EVALUATOR, TaskId
from tests.conftest import until

NEVER_S = 3600.0


class World:
    """Three hosts' volumes, by the step that each holds; what was asked of them, in order.

    stop: called in the midst of each copy, with the host and whether that copy is cancelled.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "checkpoints"
        self.machines = {
            name: cast(Machine, SimpleNamespace(name=name, engine=name))
            for name in ("h1", "h2", "h3")
        }
        self.steps: dict[str, int] = {}
        self.said: list[str] = []
        self.looks: list[str] = []
        self.folders: list[Path] = []
        self.gifts: list[tuple[str, int, int]] = []
        self.stop: Callable[[str, Callable[[], bool]], None] = lambda host, is_cancelled: None
        self.open: Callable[[str], None] = lambda host: None
        self.starts_no_more = False

    def homing(self, period_s: float = NEVER_S) -> Homing:
        chief = self.made(CHIEF, "h1").container
        plan = SimpleNamespace(
            network=HOST_NETWORK,
            checkpoint_dir=CONTAINER_CHECKPOINT_DIR,
            run_id="r",
            run_dir=str(self.home.parent),
            tasks=(chief,),
        )
        is_over = lambda: self.starts_no_more  # noqa: E731
        return Homing(cast(Plan, plan), self.said.append, period_s, is_over)

    def made(self, task: TaskId, host: str, attempt: int = 1) -> Made:
        container = Container(
            task=task, host=host, address=Address(host, 1), gpus=(), argv=(), env={}, work_dir="",
            output_dir="",
        )  # fmt: skip
        name = f"{task}.{attempt}"
        return Made(container, attempt, self.machines[host], name, lambda event: None)

    def at_home(self) -> int:
        state = state_of(self.home)
        return state.number if state else -1

    def opened(self, engine: Any, run_id: str, container: str) -> Any:
        self.open(engine)
        return SimpleNamespace(host=engine)

    def fetched(
        self, volume: Any, home: Path, folder: Path, is_cancelled: Callable[[], bool]
    ) -> Fetched | None:
        step = self.steps.get(volume.host, -1)
        self.looks.append(volume.host)
        self.folders.append(folder)
        self.stop(volume.host, is_cancelled)
        if step <= self.at_home():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        for name in (f"ckpt-{step}.index", f"ckpt-{step}.data-00000-of-00001"):
            (folder / name).touch()
        return Fetched(folder, (), CheckpointState(f"ckpt-{step}", (f"ckpt-{step}",)))

    def give(
        self, volume: Any, home: Path, given: dict[str, Any], is_cancelled: Callable[[], bool]
    ) -> bool:
        self.stop(volume.host, is_cancelled)
        self.gifts.append((volume.host, self.at_home(), len(given)))
        given[f"ckpt-{self.at_home()}"] = ()
        return True


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr("launcher.files.checkpoint_volume.opened", world.opened)
    monkeypatch.setattr("launcher.files.checkpoints.fetched", world.fetched)
    monkeypatch.setattr("launcher.files.checkpoints_given.give", world.give)
    monkeypatch.setattr("launcher.files.checkpoints_given.given_before", lambda volume: {})
    monkeypatch.setattr("launcher.files.checkpoints_given.is_newer", lambda volume, home: True)
    return world


@pytest.fixture
def aside() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Do something in a thread that has ended when the test has."""
    threads = []

    def start(do: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=do, name="aside"))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(10)


def test_a_chief_that_moves_while_its_checkpoints_are_copied(world: World, aside: Any) -> None:
    """It waits for that copy, looks once more, and begins with what was saved last."""
    homing = world.homing(0.01)
    begun, go_on, copying = threading.Event(), threading.Event(), list[str]()

    def stop(host: str, is_cancelled: Callable[[], bool]) -> None:
        copying.append(host)
        begun.set()
        go_on.wait(10)
        assert copying == [host], "two copies at once"
        copying.remove(host)

    world.stop, world.steps["h1"] = stop, 100
    chief, moved = world.made(CHIEF, "h1"), world.made(CHIEF, "h2", 2)
    homing.begun(chief)
    assert begun.wait(10)
    world.steps["h1"] = 200
    homing.ended(chief, well=False)
    seeding = aside(lambda: homing.seed(moved, chief))
    until(lambda: "within" in {thread.name for thread in threading.enumerate()}, "its last look")
    go_on.set()
    seeding.join(10)
    assert world.gifts == [("h2", 200, 0)]
    assert world.said == []
    assert len(set(world.folders)) == len(world.folders) >= 2
    until(lambda: [path.name for path in world.home.parent.iterdir()] == ["checkpoints"], "the end")
    homing.close()


@pytest.mark.parametrize(("attempt", "is_adopted"), [(2, False), (1, True)])
def test_what_may_have_saved_before_is_looked_at_at_once(
    world: World, attempt: int, is_adopted: bool
) -> None:
    """A chief that fails again and again before the first look, or that has gone on alone."""
    homing = world.homing()
    world.steps["h1"] = 5
    homing.begun(world.made(CHIEF, "h1", attempt), is_adopted=is_adopted)
    until(lambda: world.at_home() == 5, "its checkpoint")
    homing.close()


def test_an_attempt_that_fails_is_looked_at_last(world: World) -> None:
    """Another needs what it saved; none does where it ended well, or its host cannot be reached."""
    homing = world.homing()
    chiefs = [world.made(CHIEF, host) for host in ("h1", "h2", "h3")]
    homing.lost("h3")
    for chief in (chiefs[1], chiefs[2], chiefs[0]):
        homing.begun(chief)
        homing.ended(chief, well=chief is chiefs[1])
        until(lambda: "checkpoints" not in {t.name for t in threading.enumerate()}, "its end")
    assert world.looks == ["h1"]
    homing.close()


def test_a_chief_that_moves_and_has_nothing(world: World) -> None:
    """That it begins anew is said, and why what was saved last is not there."""
    homing = world.homing()

    def stop(host: str, is_cancelled: Callable[[], bool]) -> None:
        raise HostError(f"{host}: does not answer")

    world.stop = stop
    homing.seed(world.made(CHIEF, "h2", 2), world.made(CHIEF, "h1"))
    assert world.said == [
        "launch: what chief:0 saved last on h1 is not home: h1: does not answer",
        "launch: chief:0 begins on h2 without a checkpoint: none came home from h1",
    ]
    homing.close()


def test_a_start_that_failed_takes_nothing_from_the_next(world: World) -> None:
    """What the chief left on its host is looked for again, and comes."""
    homing = world.homing()
    chief = world.made(CHIEF, "h1")
    world.steps["h1"] = 7
    homing.begun(chief)
    homing.ended(chief, well=True)
    homing._source = world.made(CHIEF, "h2", 2)  # was made there, and never started
    homing.seed(world.made(CHIEF, "h3", 3), chief)
    assert world.gifts == [("h3", 7, 0)]
    homing.close()


def test_a_frozen_host_holds_up_no_other(world: World, aside: Any) -> None:
    """A chief starts while the engine of an evaluator's host does not answer."""
    asked, go_on = threading.Event(), threading.Event()

    def frozen(host: str) -> None:
        if host == "h3":
            asked.set()
            go_on.wait(10)

    world.open, world.steps["h1"] = frozen, 3
    homing = world.homing()
    homing.begun(chief := world.made(CHIEF, "h1", 2))
    until(lambda: world.at_home() == 3, "its checkpoint")
    homing.begun(world.made(EVALUATOR, "h3"))
    assert asked.wait(10)
    try:
        aside(lambda: homing.seed(world.made(CHIEF, "h2", 3), chief)).join(5)
        assert world.gifts == [("h2", 3, 0)]
    finally:
        go_on.set()
    homing.close()


@pytest.mark.parametrize("how", ["no start", "end"])
def test_giving_ends_when_nobody_needs_it(world: World, aside: Any, how: str) -> None:
    """Once nothing is to start any more, or the run is over."""
    giving = threading.Event()

    def stop(host: str, is_cancelled: Callable[[], bool]) -> None:
        giving.set()
        until(is_cancelled, "the end")

    world.home.mkdir()
    homing = world.homing()
    world.stop = stop
    seeding = aside(lambda: homing.seed(world.made(CHIEF, "h2"), None))
    assert giving.wait(10)
    world.starts_no_more = how == "no start"
    if how == "end":
        homing.close()
    seeding.join(5)
    assert not seeding.is_alive()
    homing.close()


def test_what_an_evaluator_was_given_is_known_to_its_next_attempt(world: World) -> None:
    """Both have one volume; its threads end with the run."""
    world.home.mkdir()
    homing = world.homing()
    homing.begun(world.made(CHIEF, "h1"))
    for attempt in (1, 2):
        homing.begun(evaluator := world.made(EVALUATOR, "h2", attempt))
        until(lambda: len(world.gifts) == attempt, "checkpoints")  # noqa: B023
        homing.ended(evaluator, well=False)
    assert world.gifts == [("h2", -1, 0), ("h2", -1, 1)]
    homing.begun(world.made(EVALUATOR, "h2", 3))
    until(lambda: len(world.gifts) == 3, "checkpoints")
    homing.close()
    until(lambda: "checkpoints" not in {t.name for t in threading.enumerate()}, "the end")
