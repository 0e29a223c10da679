"""The chief's checkpoints while a run goes on: home from its host, and on to where they are needed.

For hosts that share no folder. A thread beside the chief's attempt copies home what is new; one
beside the evaluator's, where that is on another host, gives it what has come. No task waits for
these threads. A chief that starts on another host waits twice: for a minute at most until what is
new on the host that it leaves is home, and until its new host holds what is home.
"""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.at_once import within
from launcher.backends.made import Made
from launcher.errors import HostError
from launcher.files.checkpoint_volumes import VolumeOnHost, Volumes
from launcher.files.staging import clear, staging
from launcher.layout import CONTAINER_CHECKPOINT_DIR
from launcher.plan import HOST_NETWORK, Plan
from launcher.task import EVALUATOR

if TYPE_CHECKING:  # what copies is imported with the first copy: a run begins sooner without it
    from launcher.files.checkpoints import Fetched

_LAST_S = 60.0  # for what a host still has when the chief leaves it


class _Beside:
    """The thread beside one attempt, as others see it."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.is_over = threading.Event()
        self.ended_well = False


class Homing:
    """Keeps a run's checkpoints at home, and gives them to the tasks that need them.

    say: shows a line to the user.
    period_s: between two looks at the chief's checkpoints.
    starts_no_more: whether a chief that is being made is not to start any more.
    """

    def __init__(
        self,
        plan: Plan,
        say: Callable[[str], None],
        period_s: float,
        starts_no_more: Callable[[], bool] = lambda: False,
    ) -> None:
        on_hosts = plan.network == HOST_NETWORK
        self._is_wanted = on_hosts and plan.checkpoint_dir == CONTAINER_CHECKPOINT_DIR
        self._home = Path(plan.run_dir) / "checkpoints"
        self._chief = plan.tasks[0].task
        self._say = say
        self._period_s = period_s
        self._starts_no_more = starts_no_more
        self._changed = threading.Condition()
        self._version = 0  # how often something came home, or the chief began
        self._source: Made | None = None  # the chief's attempt, whose checkpoints count
        self._besides: dict[str, _Beside] = {}  # by container
        self._volumes = Volumes(plan.run_id)
        self._lost: set[str] = set()
        self._is_closed = False
        if self._is_wanted:
            clear(self._home)

    def seed(self, made: Made, before: Made | None) -> None:
        """Give a chief that was created, and has not started, what is home, if it has less.

        before: its attempt before, where that is known.

        Raises:
            HostError: it cannot be given, or is not to start any more.
        """
        if not self._is_wanted or made.container.task != self._chief:
            return
        if before is not None and before.machine is made.machine:
            return  # the same volume
        if before is not None:
            self._look_last(before)
        with self._changed:
            self._source = made  # what comes from elsewhere counts no more
        if self._home.is_dir():
            self._give_to_chief(made, is_moved=before is not None)
        elif before is not None:
            host, left = made.container.host, before.container.host
            what = f"{self._chief} begins on {host} without a checkpoint"
            self._say(f"launch: {what}: none came home from {left}")

    def begun(self, made: Made, *, is_adopted: bool = False) -> None:
        """Take note of an attempt that has started, or (`is_adopted`) was taken up.

        Of what may have saved something before, that is looked for at once.
        """
        if not self._is_wanted or made.container.task not in (self._chief, EVALUATOR):
            return
        beside = self._besides[made.id] = _Beside(made)
        do = partial(self._give_to, made, beside)
        if made.container.task == self._chief:
            first_s = 0.0 if is_adopted or made.attempt > 1 else self._period_s
            do = partial(self._fetch_from, made, beside, first_s)
            with self._changed:
                self._source = made
                self._version += 1
                self._changed.notify_all()
        threading.Thread(target=do, name="checkpoints", daemon=True).start()

    def ended(self, made: Made, *, well: bool) -> None:
        """Take note of an attempt's end; an evaluator elsewhere gets the last checkpoint then."""
        beside = self._besides.get(made.id)
        if beside is not None:
            beside.ended_well = well
            beside.is_over.set()
            with self._changed:
                self._changed.notify_all()

    def lost(self, host: str) -> None:
        """Take note of a host that cannot be reached any more."""
        self._lost.add(host)

    def close(self) -> None:
        """Copy nothing and make nothing any more: the rest is brought home with the results."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for beside in tuple(self._besides.values()):
            beside.is_over.set()
        self._volumes.close()

    # from the chief

    def _fetch_from(self, made: Made, beside: _Beside, wait_s: float) -> None:
        """Copy home, again and again, what is new of a chief's attempt; at its end once more."""
        is_told = False
        while not self._is_closed:
            is_last = beside.is_over.wait(wait_s)
            if self._is_closed or (is_last and not self._is_worth_a_last_look(beside)):
                return
            try:
                self._fetch(made)
                is_told = False
            except HostError as error:
                if not is_told and self._counts(made):
                    what = f"of {made.container.task} are not home"
                    self._say(self._problem(what, error, is_last=is_last))
                self._on(made).forget()
                is_told = True
            if is_last:
                return
            wait_s = self._period_s

    def _is_worth_a_last_look(self, beside: _Beside) -> bool:
        """Whether somebody needs what an attempt that has ended saved: another, or an evaluator."""
        made = beside.made
        if not beside.ended_well:
            return made.container.host not in self._lost
        others = [b for b in tuple(self._besides.values()) if b.made.machine is not made.machine]
        return any(b.made.container.task == EVALUATOR and not b.is_over.is_set() for b in others)

    def _look_last(self, before: Made) -> None:
        """Copy home what is new on the host that the chief leaves, if that can be reached."""
        task, host = before.container.task, before.container.host
        if host in self._lost:
            return
        with self._changed:
            self._source = before  # an attempt after it may have been made, and never started
        stopped = self._starts_no_more
        try:
            within(
                _LAST_S,
                lambda: self._fetch(before, stopped),
                f"{host}: what is there did not come within {_LAST_S:g} s",
                is_cancelled=stopped,
            )
        except HostError as error:
            if not stopped() and not self._is_closed:
                self._say(f"launch: what {task} saved last on {host} is not home: {error}")

    def _fetch(self, made: Made, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Copy home what is new, once; after another such copy from that host. Raises HostError."""
        from launcher.files.checkpoints import fetched

        def is_cancelled() -> bool:
            return is_stopped() or not self._counts(made)

        there = self._on(made)
        with there.copying, staging(self._home) as folder:
            volume = there.open(made.machine.engine, made.id)
            found = fetched(volume, self._home, folder, is_cancelled)
            if found is not None:
                self._take(found, made)

    def _take(self, found: "Fetched", made: Made) -> None:
        with self._changed:
            if self._counts(made):
                from launcher.files.checkpoints import take

                take(found, self._home)
                self._version += 1
                self._changed.notify_all()

    def _counts(self, made: Made) -> bool:
        """Whether a chief's attempt is still the one whose checkpoints count."""
        return not self._is_closed and self._source is made

    # to other hosts

    def _give_to_chief(self, made: Made, *, is_moved: bool) -> None:
        from launcher.files.checkpoints_given import give, is_newer

        def is_cancelled() -> bool:
            return self._is_closed or self._starts_no_more()

        there = self._on(made)
        with there.copying:
            there.given = None  # what it then holds is the chief's own
            volume = there.open(made.machine.engine, made.id)
            if is_moved or is_newer(volume, self._home):
                give(volume, self._home, {}, is_cancelled)

    def _give_to(self, made: Made, beside: _Beside) -> None:
        """Give an evaluator's attempt what has come home, each time that something has."""
        seen, is_told = -1, False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_over(beside) or self._version != seen)  # noqa: B023
                version = self._version
            if self._is_over(beside):
                return
            try:
                if self._needs(made):
                    self._give_to_evaluator(made, beside)
                seen, is_told = version, False
            except HostError as error:
                # What was home may have gone for something newer, or the chief come to this host.
                if self._version != version or not self._needs(made):
                    continue
                if not is_told and not self._is_over(beside):
                    what = f"do not reach {made.container.task}"
                    self._say(self._problem(what, error))
                self._on(made).forget()
                is_told = True
                beside.is_over.wait(self._period_s)

    def _give_to_evaluator(self, made: Made, beside: _Beside) -> None:
        from launcher.files.checkpoints_given import give, given_before

        def is_cancelled() -> bool:
            return self._is_over(beside) or not self._needs(made)

        there = self._on(made)
        with there.copying:
            volume = there.open(made.machine.engine, made.id)
            if there.given is None:
                there.given = given_before(volume)
            give(volume, self._home, there.given, is_cancelled)

    def _needs(self, made: Made) -> bool:
        """Whether there is something that an evaluator's attempt does not see: the chief's own."""
        source = self._source
        return source is not None and source.machine is not made.machine and self._home.is_dir()

    def _is_over(self, beside: _Beside) -> bool:
        return self._is_closed or beside.is_over.is_set()

    # both

    def _on(self, made: Made) -> VolumeOnHost:
        return self._volumes.on(made.container.host)

    def _problem(self, what: str, error: HostError, *, is_last: bool = False) -> str:
        again = "" if is_last else f", and will be tried every {self._period_s:g} s"
        return f"launch: checkpoints {what}{again}: {error}"
