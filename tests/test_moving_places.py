"""Who starts where once hosts are lost, in whatever order that is noticed.

The engines are a stand-in that says at once what it is told to do: what is tested is the order of
events, which real hosts give as they like. tests/containers has the hosts.
"""

import itertools
import os
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from launcher import config, report
from launcher.backends import Homecoming, Report
from launcher.container import Container
from launcher.events import Exited, Lost, Started
from launcher.layout import Job
from launcher.logs import Console
from launcher.placement import HostFacts, Moves, moved
from launcher.plan import Plan, plan
from launcher.run import Outcome
from launcher.runs import RunDirectory
from launcher.stacks import Stacks
from launcher.supervisor import Result, Supervisor
from launcher.task import CHIEF, EVALUATOR, TaskId, TaskType
from tests.conftest import until

WORKER = TaskId(TaskType.WORKER, 0)
JOB = Job("train", "/home/me/train.py", (), "/home/me")
LAB = """
image: lab/mnist:v1
hosts:
  h1: {{address: 10.0.0.1, gpus: 3}}
  h2: {{address: 10.0.0.2, gpus: {0}}}
  h3: {{address: 10.0.0.3, gpus: {0}}}
tasks:
  chief: {{host: h1, gpus: 1}}
  worker: {{host: h2, gpus: 1}}
  evaluator: {{host: {1}, gpus: 1}}
restarts: {{move: true, backoff_s: 0.4}}
timeouts: {{grace_s: 0.1}}
"""


class Engines:
    """Stands in for the hosts: each attempt that is to start has started, and ends when killed."""

    def __init__(self) -> None:
        self.living: dict[TaskId, tuple[Container, int, Report]] = {}
        self.plans: list[Plan] = []

    def start(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        assert container.task not in self.living, "two attempts of one task at once"
        Path(log_path).touch()
        self.living[container.task] = container, attempt, report
        report(Started(time.monotonic(), container.task, attempt))

    adopt = start

    def stop(self, task: TaskId, *, kill: bool) -> None:
        if task in self.living:
            self.end(task, -9 if kill else -15)

    def end(self, task: TaskId, code: int) -> None:
        _, attempt, report = self.living.pop(task)
        report(Exited(time.monotonic(), task, attempt, code))

    def lose(self, task: TaskId) -> None:
        container, attempt, report = self.living.pop(task)
        report(Lost(time.monotonic(), task, attempt, f"{container.host}: cannot be reached"))

    def places(self) -> dict[TaskId, tuple[str, tuple[str, ...], int]]:
        there = tuple(self.living.items())
        return {task: (each.host, each.gpus, attempt) for task, (each, attempt, _) in there}

    def listening(self, containers: Sequence[Container]) -> Collection[TaskId]:
        return {container.task for container in containers}

    def follow_plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def stacks(self, task: TaskId, announced: object) -> Stacks:
        return Stacks()

    def event_files_age_s(self) -> None:
        return None

    def start_no_more(self) -> None:
        pass

    def finish(self) -> Homecoming:
        return Homecoming()

    def hurry(self) -> None:
        pass


class World:
    """A run on three hosts, and what happens to it."""

    def __init__(self, folder: Path, gpus: int, evaluator: str) -> None:
        self.engines = Engines()
        self.replans: list[Moves] = []
        self.replan_s = 0.0
        self._spec = config.parse(LAB.format(gpus, evaluator))
        self._run_dir = str(folder / "r1")
        self._made = self._plan(None)
        self._directory = RunDirectory(self._run_dir)
        tasks = [container.task for container in self._made.tasks]
        self._fd = os.open(os.devnull, os.O_WRONLY)
        console = Console(
            self._fd, tasks, colour=False, on_marker=lambda *_: None, on_output=lambda: None,
            on_closed=lambda: None, terminal=False,
        )  # fmt: skip
        self._supervisor = Supervisor(
            self._made, self.engines, self._directory, console, replan=self._again
        )
        self.results: list[Result] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.results.append(self._supervisor.run())

    def _plan(self, moves: Moves | None) -> Plan:
        spec = moved(self._spec, moves) if moves else self._spec
        ports = tuple(range(20000 + 10 * len(self.replans), 20010 + 10 * len(self.replans)))
        facts = {name: HostFacts(ports) for name in spec.hosts if name not in spec.lost}
        return plan(spec, JOB, "r1", facts, run_dir=self._run_dir, python="/py")

    def _again(self, moves: Moves) -> Plan:
        self.replans.append(moves)
        time.sleep(self.replan_s)
        return self._plan(moves)

    def ended(self) -> Result:
        """End what lives well, and return how the run ended."""
        for task in (CHIEF, WORKER):
            if task in self.engines.living:
                self.engines.end(task, 0)
        self._thread.join(10)
        (result,) = self.results
        return result

    def close(self) -> None:
        """End the run, however it stands."""
        self._supervisor.ask_to_stop()
        self._thread.join(10)
        self._directory.close()
        os.close(self._fd)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path, *getattr(request, "param", (2, "h1")))
    until(lambda: len(made.engines.living) == 3, "the start")
    yield made
    made.close()


ORDERS = [*itertools.permutations([CHIEF, EVALUATOR])]


@pytest.mark.parametrize("replan_s", [0.0, 0.3])
@pytest.mark.parametrize("pause_s", [0.0, 0.2])
@pytest.mark.parametrize("order", ORDERS, ids=["chief first", "evaluator first"])
def test_a_host_with_chief_and_evaluator_is_lost(
    world: World, order: tuple[TaskId, ...], pause_s: float, replan_s: float
) -> None:
    """Whichever is missed first, all find free places, and no other host counts as lost."""
    world.replan_s = replan_s
    for task in order:
        world.engines.lose(task)
        time.sleep(pause_s)
    until(lambda: len(world.engines.living) == 3, "all tasks again")
    places = world.engines.places()
    assert {host for host, _, _ in places.values()} == {"h2", "h3"}
    given = [(host, gpu) for host, gpus, _ in places.values() for gpu in gpus]
    assert len(set(given)) == len(given) == 3
    assert all(moves.lost == {"h1"} for moves in world.replans)
    members = {t: c for t, (c, _, _) in world.engines.living.items() if t != EVALUATOR}
    cluster = world.engines.plans[-1].tf_config(CHIEF)
    assert cluster is not None
    assert all(str(c.address) in cluster.to_json() for c in members.values())
    assert world.ended().run.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("world", [(2, "h3")], indirect=True)
def test_who_lives_is_not_moved(world: World) -> None:
    """A lost evaluator moves alone; others that move then leave its GPU to it."""
    before = world.engines.places()
    world.engines.lose(EVALUATOR)
    until(lambda: EVALUATOR in world.engines.living, "the evaluator")
    after = world.engines.places()
    assert after[CHIEF] == before[CHIEF] and after[WORKER] == before[WORKER]
    assert after[EVALUATOR] == ("h1", ("1",), 2)
    world.engines.lose(WORKER)
    until(lambda: len(world.engines.living) == 3, "all tasks again")
    last = world.engines.places()
    assert last[EVALUATOR] == after[EVALUATOR]
    assert (last[CHIEF], last[WORKER]) == (("h1", ("0",), 2), ("h1", ("2",), 2))
    assert world.ended().run.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("world", [(1, "h1")], indirect=True)
def test_no_room_for_the_evaluator(world: World) -> None:
    """The others find their places without it: it ends no run."""
    for task in (CHIEF, EVALUATOR):
        world.engines.lose(task)
    until(lambda: set(world.engines.living) == {CHIEF, WORKER}, "chief and worker again")
    until(lambda: len(world.replans) >= 4, "three tries for the evaluator")
    result = world.ended()
    assert result.run.outcome is Outcome.SUCCEEDED
    assert "none has so many left" in result.run.tasks[EVALUATOR].reason
    told = report.to_text(result)
    assert "failed; the run went on without: cluster.yaml:10 tasks.evaluator: " in told


@pytest.mark.parametrize("world", [(2, "h3")], indirect=True)
def test_no_host_is_left(world: World) -> None:
    """The run ends, and says why."""
    for task in (CHIEF, EVALUATOR, WORKER):
        world.engines.lose(task)
    until(lambda: bool(world.results), "the end")
    run = world.ended().run
    assert run.outcome is Outcome.HOST_LOST
    assert any("wants a host" in failure.how for failure in run.failures)


def test_a_plan_that_fails_unforeseen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it, the run does not wait for tasks that nobody starts."""
    nothing: dict[str, Plan] = {}
    monkeypatch.setattr(world, "_plan", lambda _moves: nothing["nothing"])
    world.engines.lose(WORKER)
    until(lambda: bool(world.results), "the end")
    assert "KeyError('nothing')" in world.ended().run.failures[-1].how
