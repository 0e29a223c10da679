"""Tasks as containers, on this machine's Docker Engine or on those of other hosts.

A thread an attempt: it has image and data brought to the host where they are lacking, creates and
starts the container, copies its output into the log file, and tells how it ended. Containers and
volumes stay until `finish` has everything home; the hosts are the only truth.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from launcher import creation
from launcher.at_once import attempts
from launcher.backends import Homecoming, Report, listening, signals
from launcher.backends.leases import Leases
from launcher.backends.made import Made
from launcher.backends.watching import Watch, removed
from launcher.claiming import Claims
from launcher.container import Container
from launcher.container_logs import LogFollower
from launcher.engine import EngineError
from launcher.errors import HostError
from launcher.events import Exited, Lost, Started, StartFailed
from launcher.homing import Homing
from launcher.hosts import Machine
from launcher.plan import HOST_NETWORK, Plan
from launcher.provision import Supply
from launcher.results import Results, remove_container
from launcher.stacks import Stacks, inside
from launcher.task import TaskId

_GONE = 404
_CONFLICT = 409
_START_S = 15.0  # for starts that are under way when the run ends
_PAUSE_S = 0.5


class DockerBackend:
    """Starts attempts as containers.

    machines: by the host's name, every host of the plan.
    provision: brings to a host, and into a container, what they need.
    results: brings home what the tasks wrote.
    claims: hold what the tasks are given of their hosts, until none lives any more.
    say: shows a line to the user.
    unreachable_s: after how long a host that cannot be reached is given up.
    homing_s: between two looks for checkpoints to bring home.
    """

    def __init__(
        self,
        plan: Plan,
        machines: Mapping[str, Machine],
        provision: Supply,
        results: Results,
        claims: Claims,
        say: Callable[[str], None],
        unreachable_s: float,
        homing_s: float,
    ) -> None:
        self._plan = plan
        self._machines = machines
        self._provision = provision
        self._results = results
        self._claims = claims
        self._say = say
        self._leases = Leases(plan.timeouts, say)
        self._homing = Homing(plan, say, homing_s, lambda: provision.is_cancelled)
        self._watch = Watch(say, results, self._homing, unreachable_s)
        self._unreachable_s = unreachable_s
        self._lock = threading.Lock()
        self._starting: dict[TaskId, tuple[Container, int, Report]] = {}
        self._latest: dict[TaskId, Made] = {}

    def start(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Start an attempt in a thread of its own, and watch it there until its end."""
        self._starting[container.task] = (container, attempt, report)
        _in_thread(f"attempt {container.task}", self._attempt,
                   container, attempt, log_path, report)  # fmt: skip

    def adopt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        """Watch a container that another launcher has started, from a thread of its own."""
        _in_thread(f"attempt {container.task}", self._adopt, container, attempt, log_path, report)

    def _adopt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        task = container.task
        machine = self._machines.get(container.host)
        if machine is None:
            why = f"{container.host}: cannot be reached"
            report(Lost(time.monotonic(), task, attempt, why))
            return
        name = creation.container_name(self._plan.run_id, task, attempt)
        try:
            described = self._described(machine, task, name)
            if described["State"]["Status"] == "created":
                raise HostError(f"{container.host}: {task} was made and never started")
            made = Made(container, attempt, machine, described["Id"], report)
            follower = self._watch.follower(made, log_path)
        except (HostError, OSError) as error:
            if isinstance(error, EngineError) and error.status == _GONE:
                report(removed(container, attempt))
                return
            if isinstance(error, EngineError) and error.status is None:
                self._results.host_is_lost(container.host)
                self._homing.lost(container.host)
                report(Lost(time.monotonic(), task, attempt, str(error)))
                return
            report(StartFailed(time.monotonic(), task, attempt, str(error)))
            return
        self._latest[task] = made
        report(Started(time.monotonic(), task, attempt))
        report(self._lived(made, follower, is_adopted=True))

    def _described(self, machine: Machine, task: TaskId, name: str) -> Mapping[str, Any]:
        """Return what an engine says of a container; one that is silent is asked again."""
        give_up_at = time.monotonic() + self._unreachable_s
        while True:
            try:
                with machine.engine.errors(f"does not describe {task}"):
                    described: Mapping[str, Any] = machine.engine.api.inspect_container(name)
                    return described
            except EngineError as error:
                is_over = self._provision.is_cancelled or time.monotonic() > give_up_at
                if error.status is not None or is_over:
                    raise
            time.sleep(_PAUSE_S)

    def stop(self, task: TaskId, *, kill: bool) -> None:
        """Send the signal from a thread: a host may be slow to answer."""
        made = self._latest.get(task)
        if made is not None:
            send = self._kill if kill else self._terminate
            _in_thread(f"signal {task}", send, made)

    def listening(self, containers: Sequence[Container]) -> Collection[TaskId]:
        """Return those of the tasks whose port is open. Raises HostError."""
        if self._plan.network == HOST_NETWORK:
            return listening.on_hosts(containers, self._machines)
        made = [found for c in containers if (found := self._latest.get(c.task))]
        return {one.container.task for one in made if listening.answers(one, self._plan.network)}

    def stacks(self, task: TaskId, announced: Collection[int]) -> Stacks:
        """Return where a task is; what can say so itself says it in its log."""
        made = self._latest.get(task)
        if made is None:
            return Stacks()
        try:
            return inside.dump(made.machine.engine, made.id, announced)
        except HostError as error:
            return Stacks(problems=(str(error),))

    def event_files_age_s(self) -> float | None:
        """Return how long ago an event file of a task that lives last grew."""
        from launcher import event_files  # few runs are looked at so

        shared = self._plan.checkpoint_dir

        def age_s(made: Made) -> float | None:
            folders = (made.container.output_dir, shared)
            return event_files.age_inside_s(made.machine.engine, made.id, folders)

        told = attempts(tuple(self._latest.values()), age_s)
        return min((age for age in told if isinstance(age, float)), default=None)

    def follow_plan(self, plan: Plan) -> None:
        """From now on start tasks as this plan of the same run says."""
        self._plan = plan

    def start_no_more(self) -> None:
        """Let starts that are under way end at their next step, and give up those that do not."""
        self._provision.cancel()
        timer = threading.Timer(_START_S, self._give_up_starts)
        timer.daemon = True
        timer.start()

    def finish(self) -> Homecoming:
        """Bring results home from all hosts at once, then remove what the run made there.

        What it claimed there is free for others before that.
        """
        self._claims.give_up()
        self._homing.close()
        return self._results.bring_home(self._machines.values())

    def hurry(self) -> None:
        """Stop bringing results home; they stay on their hosts."""
        self._results.cancel()

    def _attempt(self, container: Container, attempt: int, log_path: str, report: Report) -> None:
        task = container.task
        try:
            made, follower = self._start(container, attempt, log_path, report)
        except (HostError, OSError) as error:
            if self._starts_no_more(task):
                report(StartFailed(time.monotonic(), task, attempt, str(error)))
            return
        if self._starts_no_more(task):
            report(Started(time.monotonic(), task, attempt))
            report(self._lived(made, follower))

    def _lived(
        self, made: Made, follower: LogFollower, *, is_adopted: bool = False
    ) -> Exited | Lost:
        """Do what is to be done beside an attempt, until it has ended; return how it did."""
        with self._leases.renewed(made.machine.engine, made.id):
            self._homing.begun(made, is_adopted=is_adopted)
            end = self._watch.until_end(made, follower)
        self._homing.ended(made, well=isinstance(end, Exited) and end.code == 0)
        return end

    def _starts_no_more(self, task: TaskId) -> bool:
        """Whether nobody else has told yet how this start ended."""
        with self._lock:
            return self._starting.pop(task, None) is not None

    def _give_up_starts(self) -> None:
        for container, attempt, report in tuple(self._starting.values()):
            if self._starts_no_more(container.task):
                self._results.host_is_lost(container.host)
                why = f"{container.host}: Docker did not answer while the task was being started"
                report(StartFailed(time.monotonic(), container.task, attempt, why))

    def _start(
        self, container: Container, attempt: int, log_path: str, report: Report
    ) -> tuple[Made, LogFollower]:
        """Create and start a container; where the connection is lost meanwhile, once more."""
        machine = self._machines[container.host]
        self._provision.of_host(machine)
        give_up_at = time.monotonic() + self._unreachable_s
        is_again = False
        while True:
            try:
                made = self._created(machine, container, attempt, report, again=is_again)
                return self._begun(made, log_path)
            except EngineError as error:
                is_late = time.monotonic() > give_up_at or self._provision.is_cancelled
                if error.status is not None or is_late:
                    raise
            is_again = True
            time.sleep(_PAUSE_S)

    def _created(
        self,
        machine: Machine,
        container: Container,
        attempt: int,
        report: Report,
        *,
        again: bool,
    ) -> Made:
        engine = machine.engine

        def body(watched: bool) -> dict[str, object]:
            return self._provision.request(self._plan, machine, container, attempt, watched=watched)

        name = creation.container_name(self._plan.run_id, container.task, attempt)
        try:
            with engine.errors(f"cannot create the container of {container.task}"):
                created = self._leases.create(engine, body, name)
        except EngineError as error:
            if error.status != _CONFLICT or not again:
                raise
            remove_container(engine, name)  # made by a call whose answer was lost
            with engine.errors(f"cannot create the container of {container.task}"):
                created = self._leases.create(engine, body, name)
        return Made(container, attempt, machine, created, report)

    def _begun(self, made: Made, log_path: str) -> tuple[Made, LogFollower]:
        engine = made.machine.engine
        try:
            self._claims.ensure(made.container.host, made.container.task)
            follower = self._filled(made, log_path)
            with engine.errors(f"cannot start the container of {made.container.task}"):
                engine.api.start(made.id)
        except (HostError, OSError):
            with contextlib.suppress(HostError):
                remove_container(engine, made.id)  # its volumes are left to `finish`
            raise
        made = made._replace(started_at=time.monotonic())
        self._latest[made.container.task] = made
        return made, follower

    def _filled(self, made: Made, log_path: str) -> LogFollower:
        self._provision.into_container(made.machine, made.container, made.id)
        self._homing.seed(made, self._latest.get(made.container.task))
        return self._watch.follower(made, log_path)

    def _terminate(self, made: Made) -> None:
        try:
            signals.terminate(made)
        except HostError as error:
            self._say(f"launch: {error}")

    def _kill(self, made: Made) -> None:
        try:
            signals.kill(made)
        except HostError as error:
            made.report(self._watch.lost(made, f"{error}; it may run on there"))


def _in_thread(name: str, do: Callable[..., None], *args: object) -> None:
    threading.Thread(target=do, args=args, name=name, daemon=True).start()
