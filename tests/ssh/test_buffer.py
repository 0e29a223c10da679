"""A channel's buffer keeps what paramiko's keeps."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from launcher.ssh.buffer import BytesPipe, PiecewisePipe

_STEPS = st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 12), st.none()))


@given(_STEPS)
def test_buffer_as_paramikos(steps: Sequence[bytes | int | None]) -> None:
    """Fed, read in part and emptied in any order, it gives what paramiko's own buffer gives."""
    ours, theirs = PiecewisePipe(), BytesPipe()
    for step in steps:
        if isinstance(step, bytes):
            ours.feed(step)
            theirs.feed(step)
        elif step is None:
            assert ours.empty() == theirs.empty()
        elif theirs.read_ready():
            assert ours.read(step, 0.0) == theirs.read(step, 0.0)
        assert len(ours) == len(theirs)
        assert ours.read_ready() == theirs.read_ready()
