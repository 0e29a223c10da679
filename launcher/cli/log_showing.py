"""Logs on standard output; each attempt is announced on standard error, or on the terminal."""

import json
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from launcher.cli import say_error
from launcher.errors import InputError, Problem
from launcher.log_sources import Log, Source, in_order
from launcher.logs import Console, Show, prefixed, prefixes
from launcher.overview import sorted_tasks
from launcher.task import TaskId

_POLL_S = 0.1


class Asked(NamedTuple):
    """What is to be shown: `task` of a run, or all its tasks where it is None."""

    task: TaskId | None
    follow: bool
    stderr: bool
    as_json: bool


def shown(source: Source, asked: Asked, come: Sequence[Log] = ()) -> int:
    """Show a source's logs, as they are now or as they grow; 3 where some cannot be read.

    come: what is to be shown besides, or has come from the source already.

    Raises:
        InputError: the run has no such task.
    """
    logs = sorted((*come, *source.new()), key=in_order)
    tasks = sorted_tasks(source.tasks | {log.task for log in logs})
    if asked.task is not None and tasks and asked.task not in tasks:
        what = f"no such task in this run; expected one of {', '.join(map(str, tasks))}"
        raise InputError(Problem(str(asked.task), what))
    showing = _Showing(asked, tasks)
    if asked.follow:
        showing.follow(source, logs)
    else:
        source.wait()
        showing.whole(logs)
    for problem in source.problems.values():
        say_error(f"launch: {problem}")
    return 3 if source.problems else 0


class _Showing:
    """Logs of some tasks, as they are asked for."""

    def __init__(self, asked: Asked, tasks: Sequence[TaskId]) -> None:
        self._asked = asked
        self._terminal = sys.stdout.isatty()
        self._colour = self._terminal and not os.environ.get("NO_COLOR")
        self._prefixes = prefixes(tasks, colour=self._colour)
        self._closed = threading.Event()

    def whole(self, logs: Sequence[Log]) -> None:
        """Show logs as they are now, each wholly before the next."""
        for log in self._wanted(logs):
            if self._closed.is_set():
                return
            say_error(f"launch: {log}")
            console = self._console()
            console.follow(log.task, log.path, self._show(log))
            console.close()

    def follow(self, source: Source, logs: Sequence[Log]) -> None:
        """Show logs as they grow, until none will or nobody reads."""
        console = self._console()
        say = console.say if self._terminal and not self._asked.as_json else say_error
        told: set[str] = set()
        is_over = False
        while True:
            for log in self._wanted(logs):
                say(f"launch: {log}")
                console.follow(log.task, log.path, self._show(log))
            for problem in {*source.problems.values()} - told:
                say_error(f"launch: {problem}")
                told.add(problem)
            if is_over or self._closed.wait(_POLL_S):
                break
            is_over = source.is_over()  # before the last look at what has come
            logs = source.new()
        console.close()

    def _console(self) -> Console:
        return Console(
            sys.stdout.fileno(),
            (),
            colour=self._colour,
            on_marker=lambda _task, _fields: None,
            on_closed=self._closed.set,
        )

    def _wanted(self, logs: Sequence[Log]) -> list[Log]:
        return [log for log in logs if self._asked.task in (None, log.task)]

    def _show(self, log: Log) -> Show:
        """Return how a log's lines look."""
        if self._asked.as_json:
            return partial(_as_json, log)
        if self._asked.task is not None:
            return bytes
        prefix = self._prefixes.get(log.task) or f"{log.task} | ".encode()
        return partial(prefixed, prefix)


def _as_json(log: Log, lines: bytes) -> bytes:
    known = {"task": str(log.task), "attempt": log.attempt, "host": log.host or None}
    texts = lines[:-1].decode("utf-8", "replace").split("\n")
    return "".join(
        json.dumps({**known, "line": text}, ensure_ascii=False) + "\n" for text in texts
    ).encode("utf-8", "replace")
