"""What the engine says while it builds, as events."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from launcher.building import events
from launcher.building.events import Cached, Event, Layer, Line, Message, Step
from launcher.errors import HostError

# As an engine sent it: what goes to standard error is coloured, and the next line uncoloured.
SAID = (
    "Step 1/3 : FROM busybox\n ---> 126d8eff8658\n"
    "Step 2/3 : RUN echo   a &&     b\n ---> Using cache\n ---> 2141dda174fd\n"
    "\x1b[91mwarning: ü\n\x1b[0mStep 3/3 : RUN pip\n ---> Running in c9dea9fe1853\n"
    "10%\r100%\nSuccessfully built wheel\nRemoving intermediate container c9dea9fe1853\n"
    "Successfully built 126d8eff8658\nSuccessfully tagged a:b\nlast"
)
MEANT: list[Event] = [
    Step(1, 3, "FROM busybox"),
    Step(2, 3, "RUN echo a && b"),
    Cached(),
    Line("warning: ü"),
    Step(3, 3, "RUN pip"),
    Line("100%"),
    Line("Successfully built wheel"),
    Line("last"),
]


@given(st.lists(st.integers(0, len(SAID))))
def test_any_pieces(cuts: list[int]) -> None:
    """However the text is cut into pieces, the same events come of it."""
    lines = events.Lines()
    found: list[Event] = []
    for start, end in pairwise(sorted({0, *cuts, len(SAID)})):
        found += lines.feed(SAID[start:end])
    assert [*found, *lines.end()] == MEANT


def test_layers() -> None:
    """A layer's messages are told from those about the whole image."""
    bytes_moved = {"current": 5, "total": 9}
    moving = {"status": "Pushing", "id": "e5aa", "progressDetail": bytes_moved}
    assert events.layer(moving) == Layer("e5aa", "Pushing", 5, 9)
    assert events.layer({"status": "Pushed", "id": "e5aa", "progressDetail": {}}) == Layer(
        "e5aa", "Pushed"
    )
    assert events.layer({"status": "Pulling from library/a", "id": "latest"}) is None
    assert events.layer({"status": "The push refers to repository [a]"}) is None
    assert events.layer({"stream": "x"}) is None


def test_problems() -> None:
    """A step's exit code says more than the engine's repetition of its command."""
    long = "The command '/bin/sh -c false' returned a non-zero code: 1"
    failed = {"errorDetail": {"code": 1, "message": long}, "error": long}
    assert events.problem(failed) == "it ended with 1"
    assert events.problem({"errorDetail": {"message": "denied"}, "error": "x"}) == "denied"
    assert events.problem({"error": "denied"}) == "denied"
    assert events.problem({"stream": "error"}) == ""


def test_a_cut_connection() -> None:
    """An engine that goes away in the middle of its words is said to have."""

    def cut() -> Iterator[Message]:
        yield {"stream": "Step 1/2 : FROM a"}
        raise ProtocolError("cut off")

    heard = events.heard("gpu1", cut())
    assert next(heard)
    with pytest.raises(HostError, match="gpu1: Docker ended the connection"):
        next(heard)
