"""Performs a run: carries out what `lifecycle` decides, and tells it what then happens.

One queue, one loop: the backend's threads, the console's thread and the signal handlers only put
events on the queue. Everything else happens in the thread that called `run`.
"""

import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import FrameType

from launcher import lifecycle
from launcher.backends import Backend, Homecoming
from launcher.container import Container
from launcher.lifecycle import (
    Command,
    Event,
    Outcome,
    Phase,
    Run,
    Start,
    Started,
    Stop,
    StopAsked,
    Tick,
)
from launcher.logs import Console
from launcher.plan import Plan
from launcher.runs import RunDirectory
from launcher.task import TaskId

# A signal that comes in the moment before a wait begins does not end it, so none is long.
_LONGEST_WAIT_S = 0.2
_CLOSE_S = 0.1
_STOP_SIGNALS = {
    signal.SIGINT: Outcome.INTERRUPTED,
    signal.SIGTERM: Outcome.TERMINATED,
    signal.SIGHUP: Outcome.TERMINATED,
}


@dataclass(slots=True)
class Observed:
    """What the tasks said of themselves in marker lines: the latest of each kind."""

    metrics: dict[str, object] = field(default_factory=dict)
    step: int | None = None
    model: str | None = None

    def note(self, fields: Mapping[str, object]) -> None:
        """Take in one marker line's fields."""
        match fields.get("kind"):
            case "metrics" if self._supersedes(fields):
                self.metrics = {k: v for k, v in fields.items() if k != "kind"}
            case "model":
                self.model = str(fields.get("path"))
        step = fields.get("step")
        if isinstance(step, int):
            self.step = max(step, self.step or 0)

    def _supersedes(self, fields: Mapping[str, object]) -> bool:
        """Whether these metrics say more than those known: final ones do, then later ones."""
        return bool(fields.get("final")) or not self.metrics.get("final")


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended, with the seconds it took."""

    plan: Plan
    run: Run
    observed: Observed
    began_at: float
    ended_at: float
    home: Homecoming


class Supervisor:
    """Runs one plan to its end."""

    def __init__(self, plan: Plan, backend: Backend, directory: RunDirectory, console: Console,
                 observed: Observed) -> None:  # fmt: skip
        self._plan = plan
        self._containers: Mapping[TaskId, Container] = {c.task: c for c in plan.tasks}
        self._backend = backend
        self._directory = directory
        self._console = console
        self._observed = observed
        self._events: SimpleQueue[Event] = SimpleQueue()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGINT, SIGTERM and SIGHUP end the run instead of the launcher.

        Enter it in the main thread, around `run` and all that must not be lost to a second ^C.
        """
        with _signals_into(self._events):
            yield

    def run(self) -> Result:
        """Start every task, and return when none lives any more.

        Whatever is raised here, no task is left behind.
        """
        began_at = time.monotonic()
        try:
            run = self._run_to_end(began_at)
        except BaseException:
            for task in self._containers:
                self._backend.stop(task, kill=True)
            raise
        ended_at = time.monotonic()
        home = self._finish()
        self._show_rest()
        return Result(self._plan, run, self._observed, began_at, ended_at, home)

    def _run_to_end(self, began_at: float) -> Run:
        tasks, timeouts = tuple(self._containers), self._plan.timeouts
        run, commands = lifecycle.begin(tasks, self._plan.strategy, timeouts, began_at)
        self._perform(commands)
        while run.phase is not Phase.FINISHED:
            event = self._next(run)
            after, commands = lifecycle.step(run, event)
            self._record(event, run, after)
            if after.phase is not run.phase:
                self._backend.start_no_more()
            run = after
            self._perform(commands)
        return run

    def _finish(self) -> Homecoming:
        """Bring the results home; a user who asks again is not kept waiting."""
        with ThreadPoolExecutor(1, thread_name_prefix="finish") as pool:
            finishing = pool.submit(self._backend.finish)
            finishing.add_done_callback(lambda _: self._events.put(Tick(time.monotonic())))
            while not finishing.done():
                try:
                    event = self._events.get(timeout=_LONGEST_WAIT_S)
                except Empty:
                    continue
                if isinstance(event, StopAsked):
                    self._console.say("\nlaunch: leaving results where they are")
                    self._backend.hurry()
            return finishing.result()

    def _show_rest(self) -> None:
        """Wait until the console has shown everything, or the user has had enough.

        A reader that holds our output without reading it would keep us for ever.
        """
        while not self._console.close(_CLOSE_S):
            try:
                event = self._events.get_nowait()
            except Empty:
                continue
            if isinstance(event, StopAsked):
                return

    def _next(self, run: Run) -> Event:
        """Return the next event, a Tick when none comes for a while or something is due."""
        wait_s = _LONGEST_WAIT_S
        if run.wake_at is not None:
            wait_s = min(wait_s, max(0.0, run.wake_at - time.monotonic()))
        try:
            return self._events.get(timeout=wait_s)
        except Empty:
            return Tick(time.monotonic())

    def _perform(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self._directory.record(command)
            match command:
                case Start(task, attempt):
                    path = self._plan.log_path(task, attempt)
                    container = self._containers[task]
                    self._backend.start(container, attempt, path, self._events.put)
                case Stop():
                    self._backend.stop(command.task, kill=command.kill)

    def _follow(self, event: Started) -> None:
        path = self._plan.log_path(event.task, event.attempt)
        try:
            self._console.follow(event.task, path)
        except OSError as error:
            self._console.say(f"launch: {path} cannot be shown: {error.strerror}")

    def _record(self, event: Event, before: Run, after: Run) -> None:
        """Write an event down, and say on the console what a watching person should know."""
        if not isinstance(event, Tick):
            self._directory.record(event)
        if isinstance(event, Started):
            self._follow(event)
        if isinstance(event, StopAsked):
            self._console.say(_stop_message(before, after))
        if after.first_failure is not None and before.first_failure is None:
            attempt = after.tasks[after.first_failure]
            how = attempt.reason or describe_exit(attempt.code)
            others = " Stopping the others." if len(after.tasks) > 1 else ""
            self._console.say(f"launch: {after.first_failure} failed: {how}.{others}")
        if after.outcome is Outcome.TIMED_OUT and before.outcome is None:
            limit = after.timeouts.run_s
            self._console.say(f"launch: timeouts.run_s ({limit:g} s) is over. Stopping all tasks.")


def describe_exit(code: int | None) -> str:
    """Return how a process ended, in words: `exit code 1`, `killed by SIGKILL`."""
    if code is None:
        return "did not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _stop_message(before: Run, after: Run) -> str:
    names = ", ".join(map(str, lifecycle.unfinished(after)))
    if before.phase is Phase.RUNNING:
        grace_s = after.timeouts.grace_s
        return f"\nlaunch: stopping {names} (up to {grace_s:g} s; once more to kill at once)"
    return f"\nlaunch: killing {names}"


@contextmanager
def _signals_into(events: SimpleQueue[Event]) -> Iterator[None]:
    """Turn the signals that would end the launcher into events."""

    def ask(signum: int, _frame: FrameType | None) -> None:
        events.put(StopAsked(time.monotonic(), _STOP_SIGNALS[signal.Signals(signum)]))

    # A signal that was ignored when we were started (nohup) stays ignored.
    handled = [s for s in _STOP_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, ask) for signum in handled}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
