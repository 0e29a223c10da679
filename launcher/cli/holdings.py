"""What `launch hosts` shows of machines that can be logged in to: GPUs, who has them, who waits."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from launcher.claim import Claim, State, Wanted, since, what
from launcher.cluster import Host
from launcher.gpus import Gpu, failure

if TYPE_CHECKING:
    from launcher.logins import Logins

HEAD = ("host", "what", "state", "by")


class Has(NamedTuple):
    """What one machine has.

    said: what nvidia-smi or the shell said where there are no GPUs.
    users: for a GPU's UUID, what uses it now that is of no run.
    claims: what runs hold there, or wait for.
    """

    gpus: tuple[Gpu, ...] | None
    said: str
    users: Mapping[str, tuple[str, ...]]
    claims: tuple[Claim, ...]

    @property
    def gpus_problem(self) -> str:
        """Why nvidia-smi shows none; nothing where it is not there, or shows some."""
        return failure(self.said) if self.gpus is None else ""


class Holdings(NamedTuple):
    """What hosts said of what they have, by name, and of the others why not."""

    hosts: Mapping[str, Has]
    problems: Mapping[str, str]

    def to_dict(self, name: str) -> dict[str, object]:
        """Return one host's for JSON; null where it does not say."""
        has = self.hosts.get(name)
        if has is None:
            problem = self.problems.get(name)
            return {"gpus": None, "gpus_problem": None, "claims": None, "docker_problem": problem}
        return {
            "gpus": [_gpu_dict(gpu, has) for gpu in has.gpus or ()],
            "gpus_problem": has.gpus_problem or None,
            "claims": [_claim_dict(claim) for claim in has.claims],
            "docker_problem": None,
        }

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield the lines of a table for people."""
        now = time.time()
        for name, has in self.hosts.items():
            names = {gpu.uuid: gpu.number for gpu in has.gpus or ()}
            claimed = {uuid for each in has.claims for uuid in each.wanted.gpus}
            for gpu in has.gpus or ():
                if users := has.users.get(gpu.uuid):
                    yield name, f"GPU {gpu.number}", "in use", ", ".join(users)
                elif gpu.uuid not in claimed:
                    yield name, f"GPU {gpu.number}", "free", ""
            if has.gpus_problem:
                yield name, "GPUs", "no answer", has.gpus_problem
            for each in sorted(has.claims, key=lambda c: (c.state is not State.HELD, c.place)):
                state = "held" if each.state is State.HELD else "waited for"
                yield name, what(each.wanted, names), state, each.who + since(each.since, now)
        for name, problem in self.problems.items():
            yield name, "Docker", "no answer", problem


def read(chosen: Mapping[str, Host], logins: "Logins") -> Holdings:
    """Ask hosts what they have, all at once."""
    from launcher import hosts, questions, readings

    asked = dict.fromkeys(chosen, questions.question(True, ()))
    with hosts.opened(chosen, logins) as (machines, unreached):
        read_of, silent = readings.read(machines.values(), asked)
    found = {n: Has(r.gpus, r.gpus_problem, r.users, r.claims) for n, r in read_of.items()}
    return Holdings(found, {**unreached, **silent})


def of_processes(names: Iterable[str]) -> Holdings:
    """Return what runs of processes hold of this machine, by its names."""
    from launcher import claim_notes, gpus_here

    here = gpus_here.known()
    uuids = {f"gpu-{gpu.number}": gpu.uuid for gpu in here.gpus or ()}
    runs: dict[tuple[str, str, bool, int], list[str]] = {}
    for note in sorted(claim_notes.notes()):
        runs.setdefault((note.run, note.owner, note.holds, note.at_ms), []).append(note.what)
    held = tuple(
        Claim(run, "", owner, State.HELD if holds else State.WAITING, _wanted(whats, uuids),
              at_ms, since=at_ms / 1000)
        for (run, owner, holds, at_ms), whats in runs.items()
    )  # fmt: skip
    foreign = {uuid: named for uuid, named in here.users.items() if uuid not in here.holders}
    return Holdings({name: Has(here.gpus, here.said, foreign, held) for name in names}, {})


def _wanted(whats: Iterable[str], uuids: Mapping[str, str]) -> Wanted:
    gpus = {uuids.get(what, what[4:]) for what in whats if what.startswith("gpu-")}
    ports = {int(what[5:]) for what in whats if what.startswith("port-")}
    return Wanted(frozenset(gpus), frozenset(ports))


def _gpu_dict(gpu: Gpu, has: Has) -> dict[str, object]:
    held = [c.run for c in has.claims if c.state is State.HELD and gpu.uuid in c.wanted.gpus]
    return {
        "id": gpu.number,
        "uuid": gpu.uuid,
        "run": held[0] if held else None,
        "used_by": list(has.users.get(gpu.uuid, ())),
    }


def _claim_dict(claim: Claim) -> dict[str, object]:
    return {
        "run": claim.run,
        "owner": claim.owner or None,
        "state": claim.state.value,
        "since": claim.since or None,
        "gpus": sorted(claim.wanted.gpus),
        "ports": sorted(claim.wanted.ports),
    }
