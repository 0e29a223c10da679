"""The chief's checkpoints while a run goes on: home from its host, and on to where they are needed.

For hosts that share no folder. A thread beside the chief's attempt copies home what is new; one
beside the evaluator's, where that is on another host, gives it what has come. A chief that starts
on another host is given it before it begins. Nothing waits for these threads but such a start,
and that only as long as it is worth.
"""

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.at_once import within
from launcher.backends.made import Made
from launcher.errors import HostError
from launcher.layout import CONTAINER_CHECKPOINT_DIR
from launcher.plan import HOST_NETWORK, Plan
from launcher.task import EVALUATOR

if TYPE_CHECKING:  # what copies is imported with the first copy: a run begins sooner without it
    from launcher.files.checkpoint_volume import CheckpointVolume
    from launcher.files.checkpoints import Fetched
    from launcher.files.checkpoints_given import Given

PERIOD_S = 60.0
_LAST_S = 60.0  # for what a host still has when the chief leaves it
_CLOSE_S = 5.0  # for an engine that is being asked for a container


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
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], period_s: float = PERIOD_S) -> None:
        on_hosts = plan.network == HOST_NETWORK
        self._is_wanted = on_hosts and plan.checkpoint_dir == CONTAINER_CHECKPOINT_DIR
        self._run_id = plan.run_id
        self._home = Path(plan.run_dir) / "checkpoints"
        self._chief = plan.tasks[0].task
        self._say = say
        self._period_s = period_s
        self._changed = threading.Condition()
        self._version = 0  # how often something came home, or the chief began
        self._source: Made | None = None  # the chief's attempt, whose checkpoints count
        self._besides: dict[str, _Beside] = {}  # by container
        self._opening = threading.Lock()
        self._volumes: dict[str, CheckpointVolume] = {}  # by host
        self._lost: set[str] = set()
        self._is_closed = False

    def seed(self, made: Made, before: Made | None) -> None:
        """Give a chief that was created, and has not started, what is home, if it has less.

        before: its attempt before, where that is known.

        Raises:
            HostError: it cannot be given.
        """
        if not self._is_wanted or made.container.task != self._chief:
            return
        if before is not None and before.machine is made.machine:
            return  # the same volume
        if before is not None and before.machine.name not in self._lost:
            why = f"{before.machine.name}: cannot be reached"
            with contextlib.suppress(HostError):
                within(_LAST_S, lambda: self._fetch(before), why)
        with self._changed:
            self._source = made  # what comes from elsewhere counts no more
        if not self._home.is_dir():
            return
        from launcher.files.checkpoints_given import give, is_newer

        volume = self._volume(made)
        if before is not None or is_newer(volume, self._home):
            give(volume, self._home, {})

    def begun(self, made: Made) -> None:
        """Take note of an attempt that has started, or was taken up."""
        if not self._is_wanted or made.container.task not in (self._chief, EVALUATOR):
            return
        beside = self._besides[made.id] = _Beside(made)
        do = self._give_to
        if made.container.task == self._chief:
            do = self._fetch_from
            with self._changed:
                self._source = made
                self._version += 1
                self._changed.notify_all()
        threading.Thread(target=do, args=(made, beside), name="checkpoints", daemon=True).start()

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
        is_free = self._opening.acquire(timeout=_CLOSE_S)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if is_free:
            self._opening.release()
        for beside in tuple(self._besides.values()):
            beside.is_over.set()

    # from the chief

    def _fetch_from(self, made: Made, beside: _Beside) -> None:
        """Copy home, again and again, what is new of a chief's attempt."""
        is_told = False
        while not self._is_closed:
            is_last = beside.is_over.wait(self._period_s)
            if self._is_closed or (is_last and not (beside.ended_well and self._is_awaited(made))):
                return
            try:
                self._fetch(made)
                is_told = False
            except HostError as error:
                if not is_told and self._counts(made):
                    self._say(self._problem(f"of {made.container.task} are not home", error))
                self._volumes.pop(made.container.host, None)
                is_told = True
            if is_last:
                return

    def _is_awaited(self, made: Made) -> bool:
        """Whether an evaluator on another host than the chief's lives."""
        others = [b for b in tuple(self._besides.values()) if b.made.machine is not made.machine]
        return any(b.made.container.task == EVALUATOR and not b.is_over.is_set() for b in others)

    def _fetch(self, made: Made) -> None:
        """Copy home what is new, once. Raises HostError."""
        from launcher.files.checkpoints import fetched

        staging = self._home.with_name(f".checkpoints.{made.container.host}.{made.attempt}")
        try:
            found = fetched(self._volume(made), self._home, staging, lambda: not self._counts(made))
            if found is not None:
                self._take(found, made)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

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

    # to the evaluator

    def _give_to(self, made: Made, beside: _Beside) -> None:
        """Give an evaluator's attempt what has come home, each time that something has."""
        from launcher.files.checkpoints_given import give

        given: Given = {}
        seen, is_told = -1, False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: beside.is_over.is_set() or self._version != seen)  # noqa: B023
                version, source = self._version, self._source
            if beside.is_over.is_set() or self._is_closed:
                return
            if source is None or source.machine is made.machine or not self._home.is_dir():
                seen = version  # there is nothing, or it sees the chief's own
                continue
            try:
                give(self._volume(made), self._home, given)
                seen, is_told = version, False
            except HostError as error:
                if self._version != version:  # what was home may have gone for something newer
                    continue
                if not is_told and not self._is_closed:
                    self._say(self._problem(f"do not reach {made.container.task}", error))
                self._volumes.pop(made.container.host, None)
                is_told = True
                beside.is_over.wait(self._period_s)

    # both

    def _volume(self, made: Made) -> "CheckpointVolume":
        host = made.container.host
        from launcher.files.checkpoint_volume import opened

        with self._opening:
            if self._is_closed:
                raise HostError(f"{host}: the run has ended")
            if host not in self._volumes:
                self._volumes[host] = opened(made.machine.engine, self._run_id, made.id)
            return self._volumes[host]

    def _problem(self, what: str, error: HostError) -> str:
        return f"launch: checkpoints {what}, and will be tried every {self._period_s:g} s: {error}"
