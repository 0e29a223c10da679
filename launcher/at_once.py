"""Hosts asked all at once, and what is not waited for longer than it is worth."""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from launcher.errors import HostError

Item = TypeVar("Item")
Got = TypeVar("Got")

_TICK_S = 0.1


def attempts(items: Iterable[Item], do: Callable[[Item], Got]) -> list[Got | HostError]:
    """Return for each item what `do` gives or the HostError that it raises, all at once."""
    todo = list(items)
    with ThreadPoolExecutor(max(1, len(todo)), thread_name_prefix="host") as pool:
        return list(pool.map(lambda item: _attempt(lambda: do(item)), todo))


def at_all(items: Iterable[Item], do: Callable[[Item], Got]) -> list[Got]:
    """Return what `do` gives for each item, all at once.

    Raises:
        HostError: with the text of every HostError that `do` raised.
    """
    done = attempts(items, do)
    failed = [str(got) for got in done if isinstance(got, HostError)]
    if failed:
        raise HostError("\n".join(failed))
    return [got for got in done if not isinstance(got, HostError)]


def within(
    limit_s: float,
    do: Callable[[], Got],
    or_else: str,
    *,
    is_cancelled: Callable[[], bool] | None = None,
) -> Got:
    """Return what `do` returns where it does so in time; else it goes on unattended.

    is_cancelled: whether nobody waits any more, however much time is left.

    Raises:
        HostError: `or_else`, or what `do` raised.
    """
    box: queue.SimpleQueue[Got | HostError] = queue.SimpleQueue()
    threading.Thread(target=lambda: box.put(_attempt(do)), name="within", daemon=True).start()
    try:
        got = _first_of(box, limit_s, is_cancelled)
    except queue.Empty:
        raise HostError(or_else) from None
    if isinstance(got, HostError):
        raise got
    return got


def _first_of(
    box: "queue.SimpleQueue[Got]", limit_s: float, is_cancelled: Callable[[], bool] | None
) -> Got:
    if is_cancelled is None:
        return box.get(timeout=limit_s)
    give_up_at = time.monotonic() + limit_s
    while True:
        try:
            return box.get(timeout=_TICK_S)
        except queue.Empty:
            if is_cancelled() or time.monotonic() > give_up_at:
                raise


def _attempt(do: Callable[[], Got]) -> Got | HostError:
    try:
        return do()
    except HostError as error:
        return error
