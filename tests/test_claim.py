"""Which run goes first: the queue as its values, and every order in which two runs may look."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.claim import (
    Claim,
    State,
    Wanted,
    holding,
    is_before,
    is_undecided,
    latest,
    next_state,
    parse,
    rivals,
    what,
)

GPU = Wanted(frozenset({"GPU-a"}))
PORT = Wanted(ports=frozenset({2222, 2223}))


def claim(run: str = "a", place: int = 1, state: State = State.ASKING, want: Wanted = GPU) -> Claim:
    return Claim(run, "h1", "ann@box", state, want, place, place)


@given(
    st.builds(
        Claim,
        run=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True),
        host=st.just("h1"),
        owner=st.just("ann@box"),
        state=st.sampled_from(State),
        wanted=st.builds(
            Wanted,
            st.frozensets(st.sampled_from(["GPU-a", "GPU-b"])),
            st.frozensets(st.integers(1, 65535)),
        ),
        place=st.integers(0, 2**60),
        number=st.integers(0, 2**60),
        since=st.floats(0, 1e10),
    )
)
def test_labels_say_a_claim(one: Claim) -> None:
    """What a claim's labels say is that claim."""
    assert parse(one.labels()) == one


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"launch.run": "x"},
        claim().labels() | {"launch.claim": "x"},
        claim().labels() | {"launch.claim.since": "nan"},
    ],
)
def test_other_labels(labels: dict[str, str]) -> None:
    """Labels of another kind, or of another version, are no claim."""
    assert parse(labels) is None


def test_only_what_is_shared_counts() -> None:
    """Runs that want different things do not meet; a run is no rival of itself."""
    assert rivals(claim("a"), [claim("a"), claim("b", want=PORT)]) == ()
    assert rivals(claim("a"), [claim("b")]) == (claim("b"),)


def test_the_last_claim_counts() -> None:
    """While a claim is said anew two of it are there, of which the later one counts."""
    old, new = claim(place=1), claim(place=1, state=State.HELD)._replace(number=2)
    assert latest([new, old, claim("b")]) == (claim("b"), new) or latest([new, old]) == (new,)


def test_who_is_before() -> None:
    """Who holds something is before all; else who asked earlier, by any clock the same."""
    late, early = claim("a", 2), claim("b", 1)
    assert is_before(early, late) and not is_before(late, early)
    assert is_before(late._replace(state=State.HELD), early)
    assert is_undecided(late, early) and not is_undecided(early, late)
    assert not is_undecided(late._replace(state=State.WAITING), early)


def test_words() -> None:
    """What is claimed is named as the user names it."""
    both = Wanted(frozenset({"GPU-a", "GPU-b"}), PORT.ports)
    assert what(both, {"GPU-a": "0"}) == "GPU 0, GPU-b and port 2222, 2223"
    assert holding(claim(state=State.HELD), 0.0) == "held by run a of ann@box"


class Asking:
    """A run that asks on one host, a step at a time: says it, looks, decides."""

    def __init__(self, run: str, place: int) -> None:
        self.mine = claim(run, place)
        self.is_said = False
        self.seen: tuple[Claim, ...] = ()
        self.steps = self._steps()

    def _steps(self) -> Iterator[None]:
        while self.mine.state is not State.HELD:
            self.is_said = True
            yield
            seen = self.seen
            yield
            pairs = [(other, self.mine) for other in seen]
            self.mine = self.mine._replace(state=next_state(self.mine.state, pairs))
            yield


@pytest.mark.parametrize("places", [(1, 2), (2, 1)])
def test_never_two(places: tuple[int, int]) -> None:
    """In whatever order two runs say, look and decide, one gets it and never both."""
    for order in itertools.product((0, 1), repeat=12):
        both = [Asking("a", places[0]), Asking("b", places[1])]
        for turn in (*order, *(0, 1) * 12):
            other = both[1 - turn]
            both[turn].seen = (other.mine,) if other.is_said else ()
            next(both[turn].steps, None)
        states = [each.mine.state for each in both]
        assert states.count(State.HELD) == 1, order
