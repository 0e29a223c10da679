"""Claims of runs on hosts with Docker: each a Docker volume, empty, whose labels say it.

An engine makes a volume in milliseconds, needs no image for it and has nothing running. What says
a claim anew (another state, or just that its launcher lives) is a new volume; the one before is
removed. One that is older than its lease counts as long as a container of its run lives there;
after that whoever looks removes it. A launcher touches no living claim of another.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from launcher.claim import CLAIM_LABEL, LEASE_S, Claim, State, Wanted, latest, parse
from launcher.creation import GPUS_LABEL, PORT_LABEL, RUN_LABEL
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.hosts import Machine

RENEW_S = 10.0
_SOON_S = 0.4  # until others are told: the hosts have containers to start first
_MISSING = 404
_ALIVE = ["running", "paused", "restarting"]
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it goes on in a suspended machine

Living = Callable[[], Iterable[str]]  #: the runs of which containers run on a host


class Seen(NamedTuple):
    """What an engine says of claims.

    living: the last claim of each run that lives.
    dead: the names of the volumes of the others.
    """

    living: tuple[Claim, ...]
    dead: tuple[str, ...]


def seen(engine: Engine, living: Living) -> Seen:
    """Return the claims on a host. Raises HostError."""
    with engine.errors("does not list its claims"):
        filters = json.dumps({"label": [CLAIM_LABEL]})
        answer = engine.get("/volumes", filters=filters)
        listed = answer.json()["Volumes"] or ()
        now = parsedate_to_datetime(answer.headers["Date"])
    names = {claim: each for each in listed if (claim := parse(each["Labels"]))}
    alive, runs = [], None
    for claim in latest(names):
        if (now - datetime.fromisoformat(names[claim]["CreatedAt"])).total_seconds() > LEASE_S:
            runs = frozenset(living()) if runs is None else runs
            if claim.run not in runs:
                continue
        alive.append(claim)
    dead = [e["Name"] for c, e in names.items() if not any(_same(c, a) for a in alive)]
    return Seen(tuple(alive), tuple(dead))


def _same(one: Claim, other: Claim) -> bool:
    return (one.run, one.host) == (other.run, other.host)


def living_runs(engine: Engine) -> frozenset[str]:
    """Return the runs of which containers run on a host. Raises HostError."""
    with engine.errors("does not list its containers"):
        filters = {"label": RUN_LABEL, "status": _ALIVE}
        listed = engine.api.containers(filters=filters)
    return frozenset(each["Labels"][RUN_LABEL] for each in listed)


def remove(engine: Engine, name: str) -> None:
    """Remove a claim's volume; one that is gone is no error. Raises HostError."""
    try:
        with engine.errors("cannot remove a claim"):
            engine.api.remove_volume(name)
    except EngineError as error:
        if error.status != _MISSING:
            raise


class HostClaim:
    """One run's claim on one host, from any thread; renewed as long as something is wanted."""

    def __init__(self, machine: Machine, run_id: str, owner: str) -> None:
        self.name = machine.name
        self.claim = Claim(run_id, machine.name, owner, State.ASKING, Wanted())
        self._engine = machine.engine
        self._lock = threading.Lock()
        self._volume = ""
        self._number = 0
        self._written_at = float("-inf")
        self._changed = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def was_said(self) -> bool:
        """Whether something of it may be on the host."""
        return self._number > 0

    @property
    def is_fresh(self) -> bool:
        """Whether it was said so lately that no other run can have taken it for dead."""
        return time.clock_gettime(_CLOCK) < self._written_at + LEASE_S

    def look(self) -> tuple[Claim, ...]:
        """Return all claims there, and remove those of dead runs. Raises HostError."""
        found = seen(self._engine, lambda: living_runs(self._engine))
        for name in found.dead:
            remove(self._engine, name)
        return found.living

    def say(self, state: State, wanted: Wanted, place: int) -> None:
        """Say on the host what the run wants. Raises HostError."""
        self._set(state, wanted, place)
        with self._lock:
            self._write()

    def will_say(self, state: State, wanted: Wanted, place: int) -> None:
        """Say it soon, from another thread."""
        self._set(state, wanted, place)
        self._changed.set()

    def give_up(self) -> None:
        """Remove it, and whatever is left of one of this run there. Raises HostError."""
        with self._lock:
            self.claim = self.claim._replace(wanted=Wanted())
            filters: dict[str, Any] = {"label": [CLAIM_LABEL, f"{RUN_LABEL}={self.claim.run}"]}
            with self._engine.errors("does not list its claims"):
                listed = self._engine.api.volumes(filters=filters)["Volumes"] or ()
            for each in listed:
                remove(self._engine, each["Name"])
            self._volume, self._number = "", 0

    def _set(self, state: State, wanted: Wanted, place: int) -> None:
        is_new = state is not self.claim.state or not self.claim.since
        since = time.time() if is_new else self.claim.since
        self.claim = self.claim._replace(state=state, wanted=wanted, place=place, since=since)
        if self._keeper is None:
            name = f"claim {self.name}"
            self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        """Say the claim anew, when it has changed and before its lease ends."""
        while True:
            if self._changed.wait(RENEW_S):
                time.sleep(_SOON_S)
            self._changed.clear()
            with self._lock, contextlib.suppress(HostError):  # tried again; see `is_fresh`
                self._write()

    def _write(self) -> None:
        """Make the volume that says the claim, where there is one, and remove the one before."""
        before, self._volume = self._volume, ""
        if self.claim.wanted:
            at = time.clock_gettime(_CLOCK)
            self._number = max(int(time.time() * 1e6), self._number + 1)
            claim = self.claim._replace(number=self._number)
            name = f"launch-claim-{claim.run}-{claim.host}-{claim.number}"
            with self._engine.errors("cannot make a claim"):
                self._engine.api.create_volume(name, labels=claim.labels())
            self._volume, self._written_at = name, at
        if before:
            remove(self._engine, before)


def claims_on(
    machine: Machine,
    containers: Iterable[tuple[str, Mapping[str, str]]],
    uuid: Callable[[str], str | None],
) -> tuple[Claim, ...]:
    """Return what runs claim of a host, and what containers have of runs that claim nothing.

    containers: those that run there, with their labels.
    uuid: gives that of a GPU by any of its names.

    Raises:
        HostError: the host does not say.
    """
    labelled = [labels for _, labels in containers if RUN_LABEL in labels]
    found = seen(machine.engine, lambda: [labels[RUN_LABEL] for labels in labelled]).living
    runs = {each.run for each in found}
    return *found, *(
        Claim(labels[RUN_LABEL], machine.name, "", State.HELD, _given(labels, uuid))
        for labels in labelled
        if labels[RUN_LABEL] not in runs
    )


def _given(labels: Mapping[str, str], uuid: Callable[[str], str | None]) -> Wanted:
    gpus = map(uuid, filter(None, labels.get(GPUS_LABEL, "").split(",")))
    port = labels.get(PORT_LABEL)
    return Wanted(frozenset(filter(None, gpus)), frozenset([int(port)] if port else []))
