"""What the platform answers, read: text into values, or a HostError that says what was wrong.

Nothing that comes from there is believed. It may be a proxy's page or half of an answer, of any
type and size; it may hold our own keys, or characters that no terminal should see. Nothing here
reaches for the network.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from launcher.errors import HostError

Hide = Callable[[str], str]
Object = Mapping[str, object]

SUCCESS = 0
_MESSAGE_SHOWN = 300
_TEXT_SHOWN = 4000
_DEEPEST = 20
_YEAR_3000 = 32_503_680_000


class Unreadable(HostError):
    """An answer that is none of the platform's, or not a whole one."""


class Answer(NamedTuple):
    """An answer: whether it is a refusal, and all that it says."""

    action: str
    code: int
    message: str
    values: Object


def read(action: str, text: str, hide: Hide) -> Answer:
    """Return the answer to `action` that a text holds, every key in it masked by `hide`.

    Raises:
        Unreadable: it is no such answer.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(f"{action}: {_in_words(text)}, not the platform's JSON") from None
    value = _clean(found, hide, _DEEPEST)
    if not isinstance(value, dict):
        raise Unreadable(f"{action}: expected a JSON object, got {_kind(value)}")
    code = _integer(value.get("RetCode"))
    if code is None:
        raise Unreadable(
            f"{action}: expected RetCode, an integer, got {_kind(value.get('RetCode'))}"
        )
    message = value.get("Message")
    shown = _one_line(message, _MESSAGE_SHOWN) if isinstance(message, str) else ""
    return Answer(action, code, shown, value)


class Choice(NamedTuple):
    """One of the things that the platform offers: a train mode, a framework, a data backend."""

    id: int
    name: str


class Node(NamedTuple):
    """A kind of machine: `gpus` of a kind, and what an hour costs in hundredths."""

    id: int
    gpus: int
    gpu: str
    price: int | None

    @property
    def in_words(self) -> str:
        """The kind as the platform's own tools name it: 4-P40."""
        return f"{self.gpus}-{self.gpu or 'CPU'}"


class Job(NamedTuple):
    """A job as the platform lists it; `details` are its other fields that people ask for."""

    id: str
    name: str
    status: str
    created: float | None
    details: Mapping[str, str]


class Page(NamedTuple):
    """A part of the list of jobs; `total` is how many there are, where it says so."""

    jobs: tuple[Job, ...]
    total: int | None


class Topic(NamedTuple):
    """One of a job's logs."""

    id: str
    name: str


def choices(answer: Answer, prefix: str) -> tuple[Choice, ...]:
    """Return what is offered, from fields such as TrainModeId and TrainModeName."""
    found = _objects(answer, "DataItem")
    id_key, name_key = f"{prefix}Id", f"{prefix}Name"
    return tuple(Choice(_number(a, each, id_key), _text(a, each, name_key)) for a, each in found)


def nodes(answer: Answer) -> tuple[Node, ...]:
    """Return the kinds of machines that are offered."""
    return tuple(
        Node(
            _number(at, each, "NodeId"),
            _integer(each.get("AcceleratorAmount")) or 0,
            _shown(each.get("AcceleratorVersion")),
            _integer(each.get("UnitPrice")),
        )
        for at, each in _objects(answer, "DataSet")
    )


def page(answer: Answer) -> Page:
    """Return a part of the list of jobs."""
    jobs = tuple(_job(at, each) for at, each in _objects(answer, "DataSet"))
    return Page(jobs, _integer(answer.values.get("TotalCount")))


def topics(answer: Answer) -> tuple[Topic, ...]:
    """Return a job's logs; one without a name is called by its id."""
    return tuple(
        Topic(topic, _shown(each.get("TopicName")) or topic)
        for at, each in _objects(answer, "DataSet")
        for topic in (_identifier(at, each, "TopicId"),)
    )


def lines(answer: Answer) -> tuple[str, ...]:
    """Return the lines of a log, an entry that holds several taken apart."""
    found = answer.values.get("RunningLog")
    if found is None:
        return ()
    if not isinstance(found, list):
        raise Unreadable(f"{answer.action}: RunningLog: expected a list, got {_kind(found)}")
    split: list[str] = []
    for index, entry in enumerate(found):
        if not isinstance(entry, str):
            what = f"expected a text, got {_kind(entry)}"
            raise Unreadable(f"{answer.action}: RunningLog[{index}]: {what}")
        split += entry.rstrip("\r\n").split("\n")
    return tuple(line.rstrip("\r") for line in split)


def created(answer: Answer) -> str:
    """Return the id of the job that was made."""
    return _identifier(answer.action, answer.values, "TrainJobId")


def running(answer: Answer) -> Mapping[str, str]:
    """Return what a job has used up so far."""
    seconds, cost = (_integer(answer.values.get(key)) for key in ("ExecTime", "TotalPrice"))
    told = {"running": f"{seconds} s"} if seconds is not None else {}
    return told | ({"cost": price(cost)} if cost is not None else {})


def url(answer: Answer) -> str:
    """Return TensorBoard's address; empty where there is none."""
    found = _shown(answer.values.get("TensorboardURL"))
    return found if found.startswith(("http://", "https://")) else ""


def bill(answer: Answer, job_id: str) -> int | None:
    """Return what a job has cost, in hundredths, where a bill tells."""
    for _, each in _objects(answer, "DataSet"):
        if each.get("TrainJobId") == job_id:
            return _integer(each.get("TotalPrice"))
    return None


_DETAILS = {
    "TrainJobMemo": "memo",
    "CodeUhubPath": "image",
    "DockerCmd": "command",
    "DataUfilePath": "data",
    "OutputUfilePath": "output",
    "LogTensorboardURL": "tensorboard",
    "LogFileURL": "log file",
}


def _job(at: str, each: Object) -> Job:
    created_at = _integer(each.get("CreateTime"))
    if created_at is not None and not 0 <= created_at < _YEAR_3000:
        created_at = None
    told = {name: _shown(each.get(key)) for key, name in _DETAILS.items()}
    cost = _integer(each.get("BillTotalPrice"))
    told["cost"] = price(cost) if cost else ""
    return Job(
        _identifier(at, each, "TrainJobId"),
        _text(at, each, "TrainJobName"),
        _text(at, each, "Status"),
        None if created_at is None else float(created_at),
        {name: text for name, text in told.items() if text},
    )


def price(hundredths: int) -> str:
    """Return an amount of money in words."""
    return f"{hundredths // 100}.{hundredths % 100:02} CNY"


def _objects(answer: Answer, key: str) -> Sequence[tuple[str, Object]]:
    """Return the objects of a list with where each stands; null is an empty list there."""
    found = answer.values.get(key)
    where = f"{answer.action}: {key}"
    if found is None:
        return ()
    if not isinstance(found, list):
        raise Unreadable(f"{where}: expected a list, got {_kind(found)}")
    for index, each in enumerate(found):
        if not isinstance(each, dict):
            raise Unreadable(f"{where}[{index}]: expected an object, got {_kind(each)}")
    return [(f"{where}[{index}]", each) for index, each in enumerate(found)]


def _number(at: str, value: Object, key: str) -> int:
    number = _integer(value.get(key))
    if number is None:
        raise Unreadable(f"{at}.{key}: expected an integer, got {_kind(value.get(key))}")
    return number


def _text(at: str, value: Object, key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise Unreadable(f"{at}.{key}: expected a text, got {_kind(found)}")
    return _one_line(found, _TEXT_SHOWN)


def _identifier(at: str, value: Object, key: str) -> str:
    """Return what the platform calls a thing, which is sent back to it as it came."""
    found = value.get(key)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(_number(at, value, key))
    if not isinstance(found, str) or not found or not found.isprintable() or len(found) > 256:
        raise Unreadable(f"{at}.{key}: expected what it is called by, got {_kind(found)}")
    return found


def _integer(value: object) -> int | None:
    """Return an integer, also one written as text; None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        return None
    return value


def _shown(value: object) -> str:
    return _one_line(value, _TEXT_SHOWN) if isinstance(value, str) else ""


def _one_line(text: str, most: int) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:most]).strip()


def _clean(value: object, hide: Hide, levels: int) -> object:
    """Return a JSON value with every text masked and free of what cannot be printed as UTF-8."""
    if isinstance(value, str):
        return hide(value.encode("utf-8", "replace").decode())
    if levels and isinstance(value, list):
        return [_clean(each, hide, levels - 1) for each in value]
    if levels and isinstance(value, dict):
        return {_clean(k, hide, 0): _clean(v, hide, levels - 1) for k, v in value.items()}
    return value if isinstance(value, int | float | None) else ""


def _in_words(text: str) -> str:
    start = text[:200].lstrip().lower()
    if not start:
        return "an empty answer"
    if start.startswith(("<!doctype", "<html", "<?xml", "<")):
        return "a web page"
    return "half an answer" if start.startswith("{") else "an answer of another kind"


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
