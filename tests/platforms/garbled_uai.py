"""Answers as no platform should give them, for properties and for bench/platform_responses.py.

Each is fed to all that reads an answer. What comes out must be a value or an error for a user:
never another exception, never a key, never what a terminal or UTF-8 cannot take.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from launcher.errors import LaunchError
from launcher.platforms.uai import answers
from launcher.platforms.uai.answers import Answer
from launcher.platforms.uai.credentials import Credentials
from launcher.platforms.uai.log_cursor import Cursor
from launcher.platforms.uai.states import submitted

KEYS = ("ucloudme@example.com1296235120854146120", "46f09bb9/ab4f12d+c160dae12273d5332b5deb==")
CREDENTIALS = Credentials(*KEYS)

_FIELDS = (
    *("RetCode", "Message", "Action", "DataSet", "DataItem", "TotalCount", "TrainJobId", "Status"),
    *("TrainJobName", "CreateTime", "TopicId", "TopicName", "RunningLog", "NodeId", "UnitPrice"),
    *("AcceleratorAmount", "AcceleratorVersion", "TrainModeId", "TrainModeName", "ExecTime"),
    *("TotalPrice", "TensorboardURL", "BillTotalPrice", "LogFileURL", "CodeUhubPath", "DockerCmd"),
)
_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from([*KEYS, "Doing", "Done", "12", "", "\x1b[2J", "\ud800", "http://x/", "9" * 30]),
    st.sampled_from(KEYS).map(lambda key: f"said {key}\n{key[:20]} {key}!"),
)
_PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS,
    st.sampled_from([0, 1, -1, 1 << 40, 1 << 63, 10**400, 1_700_000_000]),
)  # fmt: skip
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_FIELDS), _TEXTS), inner, max_size=6),
    ),
    max_leaves=12,
)
_RECORDS = st.fixed_dictionaries(
    {},
    optional={name: st.one_of(_PLAIN, _TEXTS, _VALUES) for name in _FIELDS},
)
_ANSWERS = st.fixed_dictionaries(
    {"RetCode": st.one_of(st.just(0), _VALUES)},
    optional={
        **dict.fromkeys(_FIELDS[1:], _VALUES),
        "DataSet": st.one_of(st.lists(_RECORDS, max_size=3), _VALUES),
        "DataItem": st.one_of(st.lists(_RECORDS, max_size=3), _VALUES),
        "RunningLog": st.one_of(st.lists(_TEXTS, max_size=4), _VALUES),
    },
)
_JSON = st.one_of(_ANSWERS, _VALUES).map(json.dumps)
_CUT = st.tuples(_JSON, st.integers(0, 400)).map(lambda cut: cut[0][: cut[1]])
_PAGES = st.tuples(st.sampled_from(["<html>", "<!DOCTYPE html>", "<?xml?>"]), _TEXTS).map("".join)
_DEEP = st.sampled_from(["[" * 100_000, '{"a":' * 50_000, "1" * 5_000, "NaN", '{"RetCode":1e999}'])

#: Texts as answers.
texts = st.one_of(_JSON, _JSON, _CUT, _PAGES, st.text(), _DEEP)

READERS: Mapping[str, Callable[[Answer], object]] = {
    "modes": lambda answer: answers.choices(answer, "TrainMode"),
    "nodes": answers.nodes,
    "page": lambda answer: [submitted(job) for job in answers.page(answer).jobs],
    "topics": answers.topics,
    "lines": lambda answer: Cursor().new(answers.lines(answer)),
    "created": answers.created,
    "running": answers.running,
    "url": answers.url,
    "bill": lambda answer: answers.bill(answer, "j1"),
    "refusal": lambda answer: answer.message,
}


def shown(text: str) -> Iterator[str]:
    """Yield all that a user may see of an answer, read in every way; raise what no user should."""
    try:
        answer = answers.read("Action", text, CREDENTIALS.hide)
    except LaunchError as error:
        yield str(error)
        return
    for reader in READERS.values():
        try:
            yield from _texts(reader(answer))
        except LaunchError as error:
            yield str(error)


def faults(text: str) -> list[str]:
    """Return what is wrong with how an answer is read: tracebacks, and keys that are shown."""
    try:
        told = list(shown(text))
    except Exception as error:
        return [f"traceback: {type(error).__name__}: {error}"]
    leaked = [f"leak: {each!r}" for each in told if any(key in each for key in KEYS)]
    unprintable = [f"traceback: {each!r}" for each in told if not _is_utf8(each)]
    return leaked + unprintable


def _texts(value: Any) -> Iterator[str]:
    yield repr(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in (*value.keys(), *value.values()):
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
