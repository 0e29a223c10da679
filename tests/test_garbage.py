"""What is provably dead on hosts, and what stays."""

import pytest

from launcher.creation import CHECKPOINTS_LABEL, RUN_LABEL, TASK_LABEL
from launcher.garbage import Kind, RunKnown, Thing, judge

NOW = 1_000_000.0
HOUR_S = 3600.0
WEEK_S = 168 * HOUR_S
RUN = {"launch.schema": "1", RUN_LABEL: "r"}
TASK = {**RUN, TASK_LABEL: "worker:0"}
DATA = {"launch.schema": "1", "launch.kind": "data", "launch.hash": "abc"}
PART = {"launch.partial": "sha256:1"}
HOME = RunKnown(is_home=True)


def thing(kind: Kind, labels: dict[str, str], *, age_h: float = 2, host: str = "h1",
          name: str = "x", **more: object) -> Thing:  # fmt: skip
    return Thing(host, kind, name, name, NOW - age_h * HOUR_S, labels)._replace(**more)  # type: ignore[arg-type]


def container(state: str, labels: dict[str, str] = TASK, **more: object) -> Thing:
    return thing(Kind.CONTAINER, labels, **{"state": state, **more})  # type: ignore[arg-type]


VOLUME = thing(Kind.VOLUME, RUN, name="v")
USED = VOLUME._replace(is_used=True)
NETWORK = thing(Kind.NETWORK, RUN, name="n")


def waste(
    *things: Thing, known: RunKnown | None = None, older_h: float = 168, answered: bool = True
) -> list[str]:
    """Return the names of what is dead."""
    knows = {"r": known} if known else {}
    judged = judge(things, knows, NOW, older_h * HOUR_S, all_answered=answered)
    return [each.thing.name for each in judged.waste]


def kept(*things: Thing, known: RunKnown | None = None, answered: bool = True) -> str:
    """Return why the run stays."""
    knows = {"r": known} if known else {}
    (only,) = judge(things, knows, NOW, WEEK_S, all_answered=answered).kept
    return only.why


def test_a_run_that_is_home() -> None:
    """Everything of a run whose results are home goes, its volumes too."""
    through = container("created", {**RUN, CHECKPOINTS_LABEL: "1"}, name="c", age_h=0)
    all_of_it = (container("exited"), container("created"), through, USED, NETWORK)
    assert waste(*all_of_it, known=HOME) == ["x", "x", "c", "v", "n"]


@pytest.mark.parametrize(
    ("things", "known", "why"),
    [
        ([container("running"), USED], HOME, "it runs"),
        ([container("paused")], None, "it runs"),
        ([container("removing")], HOME, "it runs"),
        ([container("exited"), container("running", host="h2")], HOME, "it runs"),
        ([container("created", age_h=0.1)], None, "it is starting"),
        ([container("created", age_h=0.1), container("exited")], HOME, "it is starting"),
        ([container("exited"), USED], RunKnown("process 7 on lab"), "process 7 on lab supervises"),
        ([VOLUME], RunKnown("process 7 on lab"), "process 7 on lab supervises it"),
        ([container("exited"), USED], None, "launch collect r"),
        ([container("exited"), container("created")], RunKnown(), "launch collect r"),
        ([VOLUME, NETWORK], None, "nothing proves that it is dead"),
    ],
)
def test_what_stays(things: list[Thing], known: RunKnown | None, why: str) -> None:
    """What lives, may be starting or is not home stays, and it is said why."""
    assert waste(*things, known=known) == []
    assert why in kept(*things, known=known)


def test_containers_that_never_ran() -> None:
    """A container that was made long ago and never started goes; its volume does next time."""
    assert waste(container("created"), USED) == ["x"]
    assert kept(container("created"), USED) == "what its containers leave goes the next time"
    assert waste(container("created"), answered=False) == []


def test_a_run_without_containers() -> None:
    """A network goes where its launcher was here; a volume may hold results, and goes when old."""
    here = RunKnown(all_asked=True)
    assert waste(VOLUME, NETWORK, known=here) == ["n"]
    assert waste(VOLUME, NETWORK, older_h=1) == ["v", "n"]
    assert waste(VOLUME, NETWORK, older_h=1, answered=False) == []
    assert waste(USED, older_h=1) == []
    young = [one._replace(created=NOW - 60) for one in (VOLUME, NETWORK)]
    assert waste(*young, older_h=0) == waste(*young, known=here) == []


def test_data_that_nothing_uses() -> None:
    """Synced data goes with its mark once it is old and nothing uses it."""
    data = thing(Kind.VOLUME, DATA, age_h=200, name="d")
    mark = thing(Kind.VOLUME, DATA, age_h=200, name="m")
    assert waste(data, mark) == ["d", "m"]
    assert waste(data, mark, older_h=300) == []
    assert waste(data._replace(is_used=True), mark) == []
    assert waste(data._replace(created=NOW), mark, older_h=0) == []


def test_interrupted_transfers() -> None:
    """What an interrupted transfer left goes after a day, or sooner where it is asked for."""
    fill = container("created", DATA, age_h=25, name="f")
    assert waste(fill) == ["f"] and waste(fill._replace(state="running")) == []
    assert waste(fill._replace(created=NOW - HOUR_S)) == []
    parts = [
        thing(Kind.IMAGE, PART, age_h=30 - n, name=f"p{n}", layers=n, size_bytes=100 * n,
              tags=("launch-partial:a",))
        for n in (2, 1)
    ]  # fmt: skip
    assert waste(*parts) == ["p1", "p2"]
    judged = judge(parts, {}, NOW, WEEK_S, all_answered=True)
    assert [each.thing.size_bytes for each in judged.waste] == [100, 100]
    assert waste(parts[0]._replace(created=NOW - HOUR_S), parts[1]) == []
    assert waste(parts[0]._replace(created=NOW - HOUR_S), parts[1], older_h=0.5) == ["p1", "p2"]
    assert waste(parts[0]._replace(tags=("launch-partial:a", "mine:1"))) == []


def test_what_preflight_left() -> None:
    """A listener goes after ten minutes, also one that runs."""
    labels = {"launch.preflight": "x"}
    assert waste(container("running", labels, age_h=0.2)) == ["x"]
    assert waste(container("running", labels, age_h=0.1)) == []


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {RUN_LABEL: "r"},
        {"launch.schema": "1"},
        {"launch.kind": "data"},
        {"launch.hash": "abc"},
        {"mine": "1"},
    ],
)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_not_ours(kind: Kind, labels: dict[str, str]) -> None:
    """What no launcher made stays, however old it is and whatever a few labels say."""
    foreign = thing(kind, labels, age_h=9999, state="exited", tags=("mine:1",))
    assert waste(foreign, known=HOME, older_h=0) == []
