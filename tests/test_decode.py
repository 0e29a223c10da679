"""What launcher.decode promises: hints alone say what a node may be, and every misfit is told."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.cluster import Form, Range
from launcher.decode import Decoder
from launcher.errors import Problem
from launcher.hints import describe
from launcher.nodes import compose
from launcher.strategy import Strategy
from launcher.task import TaskType

Hint = Any


class Inner(NamedTuple):
    """A struct with a key that must be given."""

    path: Annotated[str, Form.ABSOLUTE_PATH]
    size: Annotated[int, Range(1, 9)] = 1


class Outer(NamedTuple):
    """A struct of all that a file can hold."""

    text: str = ""
    number: float = 0.0
    flag: bool = False
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    env: Mapping[str, Annotated[str, Form.SCALAR]] = {}
    by_type: Mapping[TaskType, int] = {}
    plain: Any = None


def decode(text: str, hint: Hint) -> tuple[object, list[str]]:
    """Return what a YAML text is as `hint`, and what is wrong with it."""
    decoder = Decoder("f.yaml")
    document = compose(text, "f.yaml", decoder.problems)
    value = document and document.root and decoder.decode(document.root, hint)
    return value, [str(problem) for problem in decoder.problems]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("abc", str, "abc"),
        ('"7"', str, "7"),
        ("2024-01-01", str, "2024-01-01"),
        ("7", int, 7),
        ("0x1F", int, 31),
        ("1_000", int, 1000),
        ("7", float, 7.0),
        ("1.5", float, 1.5),
        ("yes", bool, True),
        ("auto", Literal["auto"], "auto"),
        ("parameter_server", Strategy, Strategy.PARAMETER_SERVER),
        ("~", int | None, None),
        ("7", int | None, 7),
        ("[1, 2]", tuple[int, ...], (1, 2)),
        ("[]", tuple[int, ...], ()),
        ("[1, b]", tuple[int | str, ...], (1, "b")),
        ("007", Annotated[str, Form.SCALAR], "007"),
        ("yes", Annotated[str, Form.SCALAR], "yes"),
        ("1e3", Annotated[str, Form.SCALAR], "1e3"),
        ("/a", Annotated[str, Form.ABSOLUTE_PATH], "/a"),
        ("{a: 1}", Mapping[str, int], {"a": 1}),
        ("{worker: 1}", Mapping[TaskType, int], {TaskType.WORKER: 1}),
        ("{path: /a}", Inner, Inner("/a", 1)),
        (
            "{env: {A: 1}, many: [{path: /a, size: 2}]}",
            Outer,
            Outer(env={"A": "1"}, many=(Inner("/a", 2),)),
        ),
        ("{plain: {a: [1, ~, x], b: 1.5}}", Outer, Outer(plain={"a": [1, None, "x"], "b": 1.5})),
        ("{env: &e {A: 1}, plain: *e}", Outer, Outer(env={"A": "1"}, plain={"A": 1})),
        ("{env: {<<: {A: 1, B: 1}, B: 2}}", Outer, Outer(env={"B": "2", "A": "1"})),
        ("{env: {<<: [{A: 1}, {A: 2, B: 3}]}}", Outer, Outer(env={"A": "1", "B": "3"})),
    ],
)
def test_accepted(text: str, hint: Hint, value: object) -> None:
    """A node that fits its hint is decoded, texts as they are written."""
    assert decode(text, hint) == (value, [])


@pytest.mark.parametrize(
    ("text", "hint", "problem"),
    [
        ("7", str, "expected a text, got 7"),
        ("~", str, "expected a text, got nothing"),
        ("!foo bar", str, "expected a text, got 'bar'"),
        ("x", int, "expected an integer, got 'x'"),
        ("1.0", int, "expected an integer, got 1.0"),
        ("yes", int, "expected an integer, got yes"),
        ("!!int x", int, "expected an integer, got x"),
        ('!!int ""', int, "expected an integer, got ''"),
        ("!!bool maybe", bool, "expected true or false, got maybe"),
        ("1", bool, "expected true or false, got 1"),
        ("[x]", float, "expected a number, got a list"),
        ("never", Literal["auto"], "expected auto, got 'never'"),
        ("x", Strategy, "expected one of auto, multi_worker_mirrored, parameter_server, got 'x'"),
        ("x", int | None, "expected an integer, got 'x'"),
        (
            "x",
            int | tuple[str, ...] | Literal["auto"],
            "expected an integer, a list (of a text) or auto, got 'x'",
        ),
        ("-1", Annotated[int, Range(0)], "expected an integer ≥ 0, got -1"),
        ("10", Annotated[int, Range(1, 9)], "expected an integer from 1 to 9, got 10"),
        (".inf", Annotated[float, Range(0)], "expected a number ≥ 0, got .inf"),
        (".nan", Annotated[float, Range(0)], "expected a number ≥ 0, got .nan"),
        ("9" * 5000, int, f"expected an integer, got {'9' * 60}"),
        ("a/b", Annotated[str, Form.ABSOLUTE_PATH], "expected an absolute path, got 'a/b'"),
        (
            "Lab",
            Annotated[str, Form.NAME],
            "expected a name of a-z, 0-9, '_', '.' and '-' that begins with a letter or digit, "
            "got 'Lab'",
        ),
        ("~", Annotated[str, Form.SCALAR], "expected a text or number, got nothing"),
        ("[]", Annotated[str, Form.SCALAR], "expected a text or number, got a list"),
        ("7", tuple[int, ...], "expected a list (of an integer), got 7"),
        ("[]", Inner, "expected a mapping, got a list"),
        ("[]", Mapping[str, int], "expected a mapping, got a list"),
    ],
)
def test_refused(text: str, hint: Hint, problem: str) -> None:
    """A node that does not fit is refused with what was expected and what stands there."""
    assert decode(text, hint)[1] == [f"f.yaml:1: {problem}"]


def test_every_problem_has_its_line_and_key_path() -> None:
    """Problems of one file are all found, each where it stands."""
    text = """
text: [1]
numbr: 1
inner: {size: 0, path: x}
many:
  - {size: 3}
  - path: /a
    size: big
  - ~
env:
  A: []
  A: 1
by_type: {worker: x, wroker: 1}
"""
    assert decode(text, Outer)[1] == [
        "f.yaml:2 text: expected a text, got a list",
        "f.yaml:3 numbr: unknown key, did you mean 'number'? (expected one of text, number, flag, "
        "inner, many, env, by_type, plain)",
        "f.yaml:4 inner.size: expected an integer from 1 to 9, got 0",
        "f.yaml:4 inner.path: expected an absolute path, got 'x'",
        "f.yaml:6 many[0]: the key 'path' is missing",
        "f.yaml:8 many[1].size: expected an integer from 1 to 9, got 'big'",
        "f.yaml:9 many[2]: expected a mapping, got nothing",
        "f.yaml:12 env.A: this key stands already on line 11",
        "f.yaml:11 env.A: expected a text or number, got a list",
        "f.yaml:13 by_type.worker: expected an integer, got 'x'",
        "f.yaml:13 by_type.wroker: unknown key, did you mean 'worker'? (expected one of chief, "
        "worker, ps, evaluator)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n- [1\n", "f.yaml:3:1: not YAML: did not find expected"),
        ("a: 1\nb: @", "f.yaml:2:4: not YAML: found character that cannot start any token"),
        ("a: *x", "f.yaml:1:4: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 1", "f.yaml:2:1: not YAML: but found another document"),
        ("a: 1\nb: \x07", "f.yaml:2: not YAML: unacceptable character #x0007"),
    ],
)
def test_what_is_not_yaml(text: str, problem: str) -> None:
    """Text that does not parse is one problem with its line."""
    [said] = decode(text, Outer)[1]
    assert said.startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "env: &a {<<: *a}",
        "env: &a {<<: &b {<<: *a}}",
        "many: &a [*a]",
        "plain: &a [*a]",
        "plain: &a {b: *a}",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "env: {<<: 3}",
        "env: {? [a] : 1, <<: {? [b] : 2}}",
    ],
)
def test_strange_yaml_is_survived(text: str) -> None:
    """Aliases that hold themselves and keys that are no text are read or refused."""
    decode(text, Outer)


@given(
    st.text(),
    st.sampled_from(
        [Outer, Inner, int, float, bool, str, Strategy, tuple[int, ...], Mapping[str, int]]
    ),
)
def test_no_text_fails(text: str, hint: Hint) -> None:
    """Any text gives a value or problems, never another error."""
    decode(text, hint)


def test_a_struct_is_always_a_struct() -> None:
    """What could not be read of a struct is None, so that checks can go on with the rest."""
    assert decode("[]", Inner)[0] == Inner(None, 1)  # type: ignore[arg-type]
    assert decode("{size: 3}", Inner)[0] == Inner(None, 3)  # type: ignore[arg-type]


def test_wrong_key_paths_are_known() -> None:
    """The decoder knows which key paths are wrong, and where each one stands."""
    decoder = Decoder("f.yaml")
    document = compose("env:\n  A: 1\nmany:\n- {path: x}\n", "f.yaml", decoder.problems)
    assert document and document.root
    decoder.decode(document.root, Outer)
    assert decoder.wrong == {"many[0].path"}
    assert decoder.lines == {"env": 1, "env.A": 2, "many": 3, "many[0]": 4, "many[0].path": 4}
    decoder.problem("many[0].size.deeper", "is told at the nearest line")
    assert decoder.problems[-1] == Problem(
        "f.yaml:4 many[0].size.deeper", "is told at the nearest line"
    )


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | None, "an integer"),
        (tuple[str, ...] | None, "a list (of a text)"),
        (Mapping[str, int], "a mapping"),
        (Inner, "a mapping"),
        (type(None), "null"),
        (Annotated[int, Range(1, 3)] | Literal["auto"], "an integer from 1 to 3 or auto"),
    ],
)
def test_hints_in_words(hint: Hint, words: str) -> None:
    """A hint is described by what a user may write."""
    assert describe(hint) == words
