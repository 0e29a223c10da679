"""Performs a run: carries out what `lifecycle` decides, and tells it what then happens.

One queue, one loop: the backend's threads, the console's thread and the signal handlers only put
events on the queue. Everything else happens in the thread that called `run`.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import NamedTuple

from launcher import diagnosis, lifecycle, stacks, stop_signals, telling
from launcher.backends import Backend, Homecoming
from launcher.container import Container
from launcher.due import wake_at
from launcher.errors import HostError, LaunchError
from launcher.events import (
    Adopt,
    Command,
    DumpStacks,
    Event,
    Exited,
    Looked,
    LookForLife,
    Lost,
    Progressed,
    Start,
    Started,
    StartFailed,
    Stop,
    StopAsked,
    Tick,
    Up,
)
from launcher.logs import Console, last_lines
from launcher.lookout import Lookout
from launcher.observed import Observed
from launcher.places import Places, Replan
from launcher.plan import Plan
from launcher.run import Outcome, Phase, Run
from launcher.runs import RunDirectory
from launcher.task import TaskId

# A signal that comes in the moment before a wait begins does not end it, so none is long.
_LONGEST_WAIT_S = 0.2
_CLOSE_S = 0.1
_WORD_S = (10.0, 30.0)  # until the first word of who is missing, and between two
_SIGN_S = 1.0  # between two signs of life of what tells no steps
_READ_LINES = 500  # of a log's end, to find what ended a task


class Result(NamedTuple):
    """How a run ended, with the seconds it took."""

    plan: Plan
    run: Run
    observed: Observed
    began_at: float
    ended_at: float
    home: Homecoming
    why: str = ""  #: what ended the run, where no task did


class Supervisor:
    """Runs one plan to its end.

    replan: gives the plan with places that are free now; None where nothing else is possible.
    first_attempt: the number of the first attempt of every task.
    adopted: of a run that another launcher began, each task's latest attempt.
    """

    def __init__(
        self,
        plan: Plan,
        backend: Backend,
        directory: RunDirectory,
        console: Console,
        *,
        replan: Replan | None = None,
        first_attempt: int = 1,
        adopted: Mapping[TaskId, int] | None = None,
    ) -> None:
        self._places = Places(plan, replan)
        self._backend = backend
        self._directory = directory
        self._console = console
        self._first_attempt = first_attempt
        self._adopted = adopted
        self._observed = Observed()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._run: Run | None = None
        self._signed_at = 0.0
        self._worded_at: float | None = None
        self._why = ""
        self._announced: dict[TaskId, frozenset[int]] = {}  # who says where it is when asked
        self._lookout = Lookout(backend, self._events.put)

    @property
    def _plan(self) -> Plan:
        return self._places.plan

    def ask_to_stop(self) -> None:
        """Have the run end, as SIGTERM does; from any thread, and before `run` too."""
        self._ask(Outcome.TERMINATED)

    def _ask(self, outcome: Outcome) -> None:
        self._events.put(StopAsked(time.monotonic(), outcome))

    def note(self, task: TaskId, fields: Mapping[str, object]) -> None:
        """Take in what a task says of itself in a marker line; from any thread."""
        self._observed.note(fields)
        if pid := stacks.announced(fields):
            self._announced[task] = self._announced.get(task, frozenset()) | {pid}
        now, run = time.monotonic(), self._run
        if fields.get("kind") == "ready" and run is not None:
            self._events.put(Up(now, task, run.tasks[task].number))
        step, total = fields.get("step"), fields.get("total_steps")
        if isinstance(step, int) and fields.get("split") != "eval":
            self._events.put(Progressed(now, step, total if isinstance(total, int) else None))

    def note_output(self) -> None:
        """Take in that a task printed something: a sign of life, where no steps are told."""
        now = time.monotonic()
        if now > self._signed_at + _SIGN_S:
            self._signed_at = now
            self._events.put(Progressed(now, None))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGINT, SIGTERM and SIGHUP end the run instead of the launcher.

        Enter it in the main thread, around `run` and all that must not be lost to a second ^C.
        """
        with stop_signals.taken(self._ask):
            yield

    def run(self) -> Result:
        """Start every task, and return when none lives any more.

        Whatever is raised here, no task is left behind.
        """
        began_at = time.monotonic()
        try:
            run = self._run_to_end(began_at)
        except BaseException:
            for task in self._places.containers:
                self._backend.stop(task, kill=True)
            raise
        ended_at = time.monotonic()
        home = self._finish()
        self._show_rest()
        return Result(self._plan, run, self._observed, began_at, ended_at, home, self._why)

    def _run_to_end(self, began_at: float) -> Run:
        run, commands = self._begun(began_at)
        self._run = run
        self._perform(commands)
        with self._lookout.watching():
            while run.phase is not Phase.FINISHED:
                event = self._diagnosed(self._next(run))
                after, commands = lifecycle.step(run, event)
                self._record(event, run, after)
                if after.phase is not run.phase:
                    self._backend.start_no_more()
                run = self._run = after
                self._perform(commands)
                self._lookout.look_for(self._absent(run))
        return run

    def _begun(self, at: float) -> tuple[Run, tuple[Command, ...]]:
        plan, limits, restarts = self._plan, self._plan.timeouts, self._plan.restarts
        if self._adopted is not None:
            return lifecycle.take_up(self._adopted, plan.strategy, limits, at, restarts)
        tasks = tuple(self._places.containers)
        return lifecycle.begin(tasks, plan.strategy, limits, at, restarts, self._first_attempt)

    def _diagnosed(self, event: Event) -> Event:
        """Return an end together with what its task's last lines say of its cause."""
        if not isinstance(event, Exited) or event.code == 0:
            return event
        lines = last_lines(self._plan.log_path(event.task, event.attempt), _READ_LINES)
        found = diagnosis.diagnose(event.code, event.reason, lines)
        return event._replace(cause=found.cause, words=found.words)

    def _absent(self, run: Run) -> tuple[tuple[Container, int], ...]:
        """Return whom to look for, with their attempts; say now and then who is missing."""
        if run.phase is not Phase.RUNNING or not run.has_cluster or run.formed_at is not None:
            self._worded_at = None
            return ()
        now = time.monotonic()
        first_s, next_s = _WORD_S
        if self._worded_at is None:
            self._worded_at = now + first_s - next_s
        if now > self._worded_at + next_s and run.first_up_at is not None:
            self._worded_at = now
            self._console.say(f"launch: {telling.waiting(run, self._places.containers, now)}")
        living = (task for task in run.missing() if run.tasks[task].lives)
        return tuple((self._places.containers[task], run.tasks[task].number) for task in living)

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
        due_at = wake_at(run)
        if due_at is not None:
            wait_s = min(wait_s, max(0.0, due_at - time.monotonic()))
        try:
            return self._events.get(timeout=wait_s)
        except Empty:
            return Tick(time.monotonic())

    def _perform(self, commands: tuple[Command, ...]) -> None:
        anew = [
            c
            for c in commands
            if isinstance(c, Start) and (c.anew or self._places.must_move(c.task))
        ]
        for command in commands:
            self._directory.record(command)
            match command:
                case Start() if command not in anew:
                    self._start(command)
                case Stop():
                    self._backend.stop(command.task, kill=command.kill)
                case DumpStacks():
                    threading.Thread(target=self._dump, args=(command,), daemon=True).start()
                case LookForLife():
                    threading.Thread(target=self._look_for_life, daemon=True).start()
                case Adopt(task, attempt):
                    path = self._plan.log_path(task, attempt)
                    container = self._places.taken(task)
                    self._backend.adopt(container, attempt, path, self._events.put)
        if anew:
            threading.Thread(target=self._start_anew, args=(anew,), daemon=True).start()

    def _dump(self, command: DumpStacks) -> None:
        """Keep where an attempt is beside its log; what says so itself says it in there."""
        task = command.task
        found = self._backend.stacks(task, self._announced.get(task, frozenset()))
        for problem in found.kept_beside(self._plan.log_path(task, command.attempt)):
            self._console.say(f"launch: {task}: {problem}")

    def _look_for_life(self) -> None:
        """Tell when event files last grew: of what prints nothing, the only sign of life."""
        age_s = self._backend.event_files_age_s()
        now = time.monotonic()
        self._events.put(Looked(now, None if age_s is None else now - age_s))

    def _start(self, command: Start) -> None:
        path = self._plan.log_path(command.task, command.attempt)
        container = self._places.taken(command.task)
        self._backend.start(container, command.attempt, path, self._events.put)

    def _start_anew(self, commands: list[Start]) -> None:
        """Find other places for what could not stay where it was, and start it there."""
        left = list(commands)
        try:
            with self._places.changing:
                self._check_runs()
                self._places.find(frozenset(command.task for command in commands))
                self._check_runs()
                self._backend.follow_plan(self._places.plan)
                while left:
                    self._start(left[0])
                    left.pop(0)
        except Exception as error:  # whatever it is: the run waits for these starts
            why = str(error) if isinstance(error, LaunchError) else repr(error)
            for command in left:
                at, task = time.monotonic(), command.task
                self._events.put(StartFailed(at, task, command.attempt, why, True))

    def _check_runs(self) -> None:
        if self._run is not None and self._run.phase is not Phase.RUNNING:
            raise HostError("the run ended before this task was started")

    def _follow(self, event: Started) -> None:
        path = self._plan.log_path(event.task, event.attempt)
        try:
            self._console.follow(event.task, path)
        except OSError as error:
            self._console.say(f"launch: {path} cannot be shown: {error.strerror}")

    def _record(self, event: Event, before: Run, after: Run) -> None:
        """Write an event down, and say on the console what a watching person should know."""
        if not isinstance(event, Tick | Progressed):
            self._directory.record(event)
        if isinstance(event, Lost) and event.attempt == before.tasks[event.task].number:
            self._places.lose(event.task)
        if isinstance(event, Started):
            self._announced.pop(event.task, None)  # of an earlier attempt
            self._follow(event)
        for line in telling.changes(before, after, event.at, isinstance(event, StopAsked)):
            self._console.say(line)
        if after.outcome is Outcome.NOT_FORMED and before.outcome is None:
            who = telling.waiting(before, self._places.containers, event.at)
            self._why = f"the cluster did not form in {after.timeouts.start_s:g} s: {who}"
            self._console.say(f"launch: {self._why}")
        if after.outcome is Outcome.STALLED and before.outcome is None:
            self._why = after.failures[-1].how
