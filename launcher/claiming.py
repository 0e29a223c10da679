"""What a run wants of all its hosts, claimed there: all of it or nothing, or after others.

See `claim` for what decides, and docs/decisions/0012-claims.md for why.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple

from launcher.at_once import at_all, attempts, within
from launcher.claim import Claim, State, Wanted, holding, is_before, next_state, rivals, what
from launcher.errors import HostError
from launcher.host_claims import HostClaim
from launcher.hosts import Machine
from launcher.plan import HOST_NETWORK, Plan
from launcher.readings import Reading
from launcher.task import TaskId
from launcher.user import user_name

_POLL_S = 0.3
_UNDECIDED_S = 0.02
_GIVE_UP_S = 5.0  # for a host to answer at the end

Names = Mapping[str, Mapping[str, str]]  #: of GPUs in words, by host and UUID


class Rival(NamedTuple):
    """A claim of another run on a host, beside ours there, with which it shares something."""

    host: str
    claim: Claim
    ours: Claim

    def what(self, names: Names) -> str:
        """Return in words what both want."""
        return what(self.claim.wanted.shared(self.ours.wanted), names.get(self.host, {}))


def owner() -> str:
    """Return who performs a run, for others to see."""
    return f"{user_name()}@{socket.gethostname()}"


class Claims:
    """A run's claims; a context that gives them up.

    machines: by name, the hosts that it may claim something of.
    say: shows a line to the user who waits.
    """

    def __init__(
        self, run_id: str, machines: Mapping[str, Machine], say: Callable[[str], None]
    ) -> None:
        self._run_id = run_id
        self._hosts = {name: HostClaim(m, run_id, owner()) for name, m in machines.items()}
        self._say = say
        self._lock = threading.Lock()  # one decision at a time
        self._held: Mapping[str, Wanted] = {}
        self._expected: Mapping[TaskId, Wanted] = {}
        self._place = 0
        self._is_adopted = False

    def __enter__(self) -> "Claims":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.give_up()

    def take(
        self, wanted: Mapping[str, Wanted], names: Names, known: Iterable[Claim], *, wait: bool
    ) -> bool:
        """Claim what is wanted of each host, all or nothing; return whether others came first.

        What is held already stays so where it is still wanted, and is given up where it is not.

        names: of GPUs in words.
        known: claims that were read before: the place in the queue is behind theirs.
        wait: whether to wait for those who are before us.

        Raises:
            HostError: others hold something of it, or have waited for it; nothing is claimed
                that was not before.
        """
        with self._lock:
            places = [claim.place + 1 for claim in known]
            self._place = self._place or max([int(time.time() * 1e6), *places])
            new = {name: want for name, want in wanted.items() if want}
            lacking = {n: _without(want, self._held.get(n, Wanted())) for n, want in new.items()}
            lacking = {name: want for name, want in lacking.items() if want}
            try:
                was_late = self._ask(lacking, names, wait=wait)
            except HostError:
                self._settle(self._held, lacking)
                raise
            self._settle(new, self._held)
            self._held, self._expected = new, {}
            return was_late

    def adopt(
        self,
        living: Mapping[str, Wanted],
        expected: Mapping[TaskId, Wanted],
        known: Iterable[Claim],
    ) -> None:
        """Go on with what an earlier launcher of the run has claimed.

        living: what those of its tasks have that live: theirs, whoever waits for it.
        expected: what its other tasks were given: claimed when they start there again.
        known: claims that were read; the run keeps its place in the queue.

        Raises:
            HostError: a host cannot be told.
        """
        with self._lock:
            self._is_adopted = True
            places = [claim.place for claim in known if claim.run == self._run_id and claim.place]
            self._place = min(places, default=int(time.time() * 1e6))
            self._held = {name: want for name, want in living.items() if want}
            self._expected = {task: want for task, want in expected.items() if want}
            at_all(
                self._held.items(),
                lambda item: self._hosts[item[0]].say(State.HELD, item[1], self._place),
            )

    def ensure(self, name: str, task: TaskId) -> None:
        """Return where what was claimed of a host is still held, and what a task there expects.

        Raises:
            HostError: another run has something of it: it has taken it while nobody could renew
                the claim, or nobody claimed it.
        """
        if self._is_sure(name, task):
            return
        with self._lock:
            if self._is_sure(name, task):
                return
            want = _with(self._held.get(name, Wanted()), self._expected.get(task))
            kept = self._held
            if not self._hosts[name].is_fresh:
                kept = {other: held for other, held in self._held.items() if other != name}
            self._held = kept
            try:
                self._ask({name: _without(want, kept.get(name, Wanted()))}, {}, wait=False)
            except HostError:
                self._settle(kept, {name: want})
                raise
            self._held = {**kept, name: want}
            self._expected = {t: each for t, each in self._expected.items() if t != task}
            self._settle(self._held, {})

    def _is_sure(self, name: str, task: TaskId) -> bool:
        is_held = name not in self._held or self._hosts[name].is_fresh
        return is_held and task not in self._expected

    def give_up(self) -> None:
        """Give up everything; a host that does not answer is left to its lease."""

        def give_up(host: HostClaim) -> None:
            within(_GIVE_UP_S, host.give_up, f"{host.name}: does not answer")

        self._held = {}
        hosts = self._hosts.values()
        attempts([host for host in hosts if host.was_said or self._is_adopted], give_up)

    def _ask(self, lacking: Mapping[str, Wanted], names: Names, *, wait: bool) -> bool:
        """Return once nobody is before us anywhere, and whether somebody was. Raises HostError."""
        state, told, was_late = State.ASKING, "", False
        if lacking:
            self._say_all(state, lacking)
        while lacking:
            try:
                seen = self._rivals(lacking)
            except HostError:
                if not was_late or not wait:
                    raise
                time.sleep(_POLL_S)  # who has waited for hours waits for a host too
                continue
            before = [each for each in seen if is_before(each.claim, each.ours)]
            after = next_state(state, [(each.claim, each.ours) for each in seen])
            if after is State.HELD:
                break
            if before and not wait and any(b.claim.state is not State.ASKING for b in before):
                raise HostError(_refusal(before, names))
            if after is not state:
                self._say_all(after, lacking)
            state, was_late = after, was_late or bool(before)
            told = self._tell(before, names, told) if wait and before else told
            time.sleep(_POLL_S if wait and before else _UNDECIDED_S)
        return was_late

    def _say_all(self, state: State, lacking: Mapping[str, Wanted]) -> State:
        def say(item: tuple[str, Wanted]) -> None:
            name, want = item
            self._hosts[name].say(state, _with(want, self._held.get(name)), self._place)

        at_all(lacking.items(), say)
        return state

    def _rivals(self, lacking: Mapping[str, Wanted]) -> list[Rival]:
        """Return who else wants something of what we lack, on all hosts. Raises HostError."""

        def look(item: tuple[str, Wanted]) -> list[Rival]:
            name, want = item
            host = self._hosts[name]
            ours = host.claim._replace(wanted=want)
            return [Rival(name, claim, ours) for claim in rivals(ours, host.look())]

        return [rival for found in at_all(lacking.items(), look) for rival in found]

    def _settle(self, held: Mapping[str, Wanted], before: Mapping[str, Wanted]) -> None:
        """Have the hosts say what is held now, instead of what was said before."""
        for name in {**before, **held}:
            self._hosts[name].will_say(State.HELD, held.get(name, Wanted()), self._place)

    def _tell(self, before: Sequence[Rival], names: Names, told: str) -> str:
        """Tell the user whom the run waits for, where that has changed."""
        text = _waiting(before, names)
        if text != told:
            self._say(text)
        return text


def _with(want: Wanted, more: Wanted | None) -> Wanted:
    return want if more is None else Wanted(want.gpus | more.gpus, want.ports | more.ports)


def _without(want: Wanted, held: Wanted) -> Wanted:
    return Wanted(want.gpus - held.gpus, want.ports - held.ports)


def _refusal(before: Sequence[Rival], names: Names) -> str:
    now = time.time()
    return "\n".join(
        f"{each.host}: {each.what(names)} is {holding(each.claim, now)}" for each in before
    )


def _waiting(before: Sequence[Rival], names: Names) -> str:
    """Return `waiting for gpu1: GPU 0, 1 held by run X of ann since 12:04; 2 runs before …`."""
    now = time.time()
    held = [
        f"{each.host}: {each.what(names)} {holding(each.claim, now)}"
        for each in before
        if each.claim.state is State.HELD
    ]
    queue = len({each.claim.run for each in before if each.claim.state is not State.HELD})
    count = "1 run" if queue == 1 else f"{queue} runs"
    return "waiting for " + "; ".join([*held, *([f"{count} before this one"] if queue else [])])


def wanted(plan: Plan, readings: Mapping[str, Reading]) -> dict[str, Wanted]:
    """Return what a plan takes of each host."""
    found: dict[str, Wanted] = {}
    for each in plan.tasks:
        gpus = map(readings[each.host].gpu_uuid, each.gpus)
        ports = [each.address.port] if plan.network == HOST_NETWORK else []
        mine = Wanted(frozenset(filter(None, gpus)), frozenset(ports))
        found[each.host] = _with(mine, found.get(each.host))
    return found


def names(readings: Mapping[str, Reading]) -> Names:
    """Return what users call each host's GPUs."""
    return {name: {g.uuid: g.number for g in r.gpus or ()} for name, r in readings.items()}
