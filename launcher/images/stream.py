"""Long requests to an engine: what it says while it works, and what goes wrong on the way."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import requests
from docker.errors import create_api_error_from_http_exception

from launcher.engine import Engine, EngineError
from launcher.errors import HostError

IsCancelled = Callable[[], bool]
Event = Mapping[str, Any]

_ANSWER_S = 60
_FULL = "no space left on device"


class CancelledTransfer(HostError):
    """The run was stopped while an image was on its way."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host}: the image was on its way when the run was cancelled")


class DiskFull(HostError):
    """The host has no room for the image."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host}: its disk is full, the image does not fit; make room in Docker's folder "
            "there (docker system prune) and start again"
        )


@contextlib.contextmanager
def events(
    engine: Engine,
    path: str,
    doing: str,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    idle_s: float | None = None,
) -> Iterator[Iterator[Event]]:
    """POST to an engine and give what it says meanwhile.

    Leaving it early closes the request, and the engine stops.

    Raises:
        DiskFull: the engine's machine has no room.
        EngineError: the engine refuses or fails, also while it works.
    """
    with _told(engine, doing):
        answer = engine.api.post(
            f"{engine.api.base_url}/v{engine.api.api_version}{path}",
            params=dict(params),
            headers=dict(headers or {}),
            data=body,
            stream=True,
            timeout=(_ANSWER_S, idle_s),
        )
        with contextlib.closing(answer):
            try:
                answer.raise_for_status()
            except requests.HTTPError as error:
                create_api_error_from_http_exception(error)
            yield _parsed(answer, engine, doing)


def until_cancelled(
    found: Iterable[Event], host: str, is_cancelled: IsCancelled
) -> Iterator[Event]:
    """Yield what an engine says; raise CancelledTransfer once nobody wants to hear it."""
    for event in found:
        if is_cancelled():
            raise CancelledTransfer(host)
        yield event


def _parsed(answer: requests.Response, engine: Engine, doing: str) -> Iterator[Event]:
    for line in answer.iter_lines(chunk_size=None):
        if not line.strip():
            continue
        event = json.loads(line)
        if "error" in event:
            raise EngineError(engine.host, doing, str(event["error"]))
        yield event


@contextlib.contextmanager
def _told(engine: Engine, doing: str) -> Iterator[None]:
    try:
        with engine.errors(doing):
            yield
    except EngineError as error:
        if _FULL in str(error):
            raise DiskFull(engine.host) from None
        raise
    except ValueError:
        raise EngineError(engine.host, doing, "it broke off within its answer") from None
