"""What launcher.markers promises: a marker reads back, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.markers import marker, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_the_documented_line() -> None:
    """A marker is `@launch ` and compact JSON with `kind` first, without a newline."""
    line = marker("step", step=3, total_steps=9)
    assert line == '@launch {"kind":"step","step":3,"total_steps":9}'


@given(
    st.sampled_from(["ready", "step", "metrics", "checkpoint", "model", "new one"]),
    st.dictionaries(st.text().filter(lambda key: key != "kind"), json_values, max_size=3),
)
def test_markers_read_back(kind: str, fields: dict[str, object]) -> None:
    """What was marked is what is read, from text and from bytes, and stays on one line."""
    line = marker(kind, **fields)
    assert "\n" not in line
    assert parse(line) == parse(line.encode()) == {"kind": kind, **fields}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "epoch 1 loss=0.5",
        "@launch",
        "@launch ",
        "@launch training begins",
        "@launch [1]",
        '@launch "step"',
        "@launch {}",
        '@launch {"kind": 1}',
        '@launch {"kind": "step"',
        ' @launch {"kind": "step"}',
        '@launch {"kind": "step"} and more',
        b"@launch \xff\xfe",
        "@launch " + "[" * 100_000,
    ],
)
def test_other_lines_are_ordinary(line: str | bytes) -> None:
    """A line that only looks like a marker is none, and never an error."""
    assert parse(line) is None


@given(st.text() | st.binary())
def test_no_line_fails(line: str | bytes) -> None:
    """Whatever follows the prefix, reading it never raises."""
    parse(line)
    parse(b"@launch " + line if isinstance(line, bytes) else f"@launch {line}")
