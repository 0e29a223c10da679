"""Whatever an API server answers, the launcher says something about it."""

import copy
import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import HostError, InputError
from launcher.platforms.kubernetes import Kubernetes, client, following
from launcher.platforms.kubernetes.client import Client
from launcher.platforms.kubernetes.settings import Settings

LABELS = {"launch/run": "lab-1", "launch/task": "chief", "launch/decides": "true"}
META = {"name": "lab-1-chief", "labels": LABELS, "creationTimestamp": "2026-05-04T03:02:01Z",
        "annotations": {"launch/run-id": "lab-1"}}  # fmt: skip
CONDITION = {"type": "Failed", "status": "True", "reason": "Because", "message": "of this"}
JOB = {
    "metadata": META,
    "spec": {"completions": 1, "suspend": False},
    "status": {"active": 1, "ready": 1, "conditions": [CONDITION]},
}
POD = {
    "metadata": META,
    "spec": {"nodeName": "n"},
    "status": {
        "phase": "Failed",
        "containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
    },
}
ODD: list[Any] = [None, 7, -1.5, "x", "", True, [], {}, [None], [[]], {"": None}, {"name": 1}, "7"]


class Garbled:
    """An API server whose answers have one part replaced, or cut off."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    server, namespace = "http://fake", "ml"

    def ask(self, method: str, path: str, *_: object) -> "Answer":
        if path.endswith("/log"):
            return Answer(b"2026-05-04T03:02:01.5Z hello\n\xff\xfe\n\n x")
        item = POD if path.endswith("/pods") else JOB
        value: Any = {"items": [copy.deepcopy(item)], "metadata": {"continue": ""}}
        if "lab-1" in path:
            value = copy.deepcopy(item)
        if self.chance.random() < 0.8:
            _spoil(value, self.chance)
        text = json.dumps(value).encode()
        if self.chance.random() < 0.1:
            text = text[: self.chance.randrange(len(text))]
        return Answer(text)


class Answer:
    """What urllib3 gives."""

    status, reason = 200, "OK"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self, *_: object, **__: object) -> list[bytes]:
        return [self.data]

    def close(self) -> None:
        """There is nothing to close."""


def _spoil(value: Any, chance: random.Random) -> None:
    """Replace one part of a value, as deep as chance will have it."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = chance.choice(keys)
    inner = value[key]
    if isinstance(inner, dict | list) and chance.random() < 0.8:
        _spoil(inner, chance)
    elif isinstance(value, dict) and chance.random() < 0.2:
        del value[key]
    else:
        value[key] = chance.choice(ODD)


@given(st.integers(0, 2**64))
@settings(max_examples=300)
def test_no_answer_ends_in_a_traceback(seed: int) -> None:
    """Wrong kinds, missing keys, cut texts: an answer, or an error in words."""
    platform = Kubernetes(Settings(), {})
    garbled: Any = Garbled(random.Random(seed))
    platform._known = Client(garbled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "BACKOFFS_S", (0.0,))
        patch.setattr(following, "LOOK_S", 0.0)
        for ask in (
            lambda: platform.jobs(),
            lambda: platform.job("lab-1"),
            lambda: list(platform.logs("lab-1", follow=False)),
            lambda: platform.stop("lab-1"),
            lambda: platform.delete("lab-1"),
        ):
            with suppress(HostError, InputError):
                ask()
