"""The run directory: one folder a run, which holds all that is known of it on this machine.

RUN/plan.json          what was to run
RUN/events.jsonl       what happened, a JSON object a line, as it happened
RUN/command.json       what the user asked for, to ask for it again
RUN/report.json        how it ended; written last
RUN/logs/TASK.N.log    all that attempt N of a task printed
RUN/output/TASK/       what a task wrote
RUN/checkpoints/       where the tasks share checkpoints, if no other place is given
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import HostError, InputError
from launcher.events import Command, Event
from launcher.task import TaskId


class RunDirectory:
    """One run's folder, made new.

    problem: why events.jsonl could not be written, where it could not: a full disk must not end
        a run.
    """

    def __init__(self, path: str, *, again: bool = False) -> None:
        """Make the folder, or with `again` go on in one that is there.

        Raises:
            InputError: that cannot be done.
        """
        self.path = Path(path)
        self.problem = ""
        try:
            (self.path / "logs").mkdir(parents=True, exist_ok=again)
            (self.path / "report.json").unlink(missing_ok=True)
            self._events = open(self.path / "events.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{path}: cannot be made: {error.strerror}") from None

    def write(self, name: str, value: Mapping[str, object]) -> None:
        """Write `value` as the JSON file `name`, whole or not at all.

        Raises:
            HostError: it could not be written.
        """
        temporary = self.path / f".{name}.tmp"
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        try:
            # Arguments need not be UTF-8; what this makes of such a byte is JSON's own escape.
            temporary.write_text(text, "utf-8", "backslashreplace")
            temporary.replace(self.path / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise HostError(f"{self.path / name}: cannot be written: {error.strerror}") from None

    def record(self, what: Event | Command) -> None:
        """Append an event or a command to events.jsonl, with the wall-clock time."""
        names: tuple[str, ...] = type(what).__match_args__
        fields = {name: getattr(what, name) for name in names if name != "at"}
        fields = {k: str(v) if isinstance(v, TaskId) else v for k, v in fields.items()}
        line = {"time": round(time.time(), 3), "what": type(what).__name__, **fields}
        try:
            self._events.write(json.dumps(line) + "\n")
            self._events.flush()
        except OSError as error:
            self._note(error)

    def close(self) -> None:
        """Close events.jsonl."""
        try:
            with self._events:
                self._events.flush()
                os.fsync(self._events.fileno())
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        # Where there is nothing to sync to (a pipe, a device) nothing is lost either.
        if error.errno != errno.EINVAL:
            self.problem = self.problem or f"events.jsonl is not whole: {error.strerror}"


def last_attempt(run_dir: Path) -> int:
    """Return the highest number of which an attempt of a task has a log here, 0 without any."""
    numbers = (log.name.split(".")[-2] for log in (run_dir / "logs").glob("*.*.log"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
