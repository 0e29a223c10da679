"""What `launch hosts` shows of machines that can be logged in to: GPUs, who has them, who waits."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from launcher import hosts, questions, readings
from launcher.claim import Claim, State, Wanted, since, what
from launcher.cluster import Host
from launcher.logins import Logins
from launcher.readings import Gpu, Reading

HEAD = ("host", "what", "state", "by")


class Holdings(NamedTuple):
    """What hosts said of what they have, by name, and of the others why not."""

    readings: Mapping[str, Reading]
    problems: Mapping[str, str]

    def to_dict(self, name: str) -> dict[str, object]:
        """Return one host's for JSON; null where it does not say."""
        reading = self.readings.get(name)
        if reading is None:
            return {"gpus": None, "claims": None, "docker_problem": self.problems.get(name)}
        return {
            "gpus": [_gpu_dict(gpu, reading) for gpu in reading.gpus or ()],
            "claims": [_claim_dict(claim) for claim in reading.claims],
            "docker_problem": None,
        }

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield the lines of a table for people."""
        now = time.time()
        for name, reading in self.readings.items():
            names = {gpu.uuid: gpu.number for gpu in reading.gpus or ()}
            claimed = {uuid for each in reading.claims for uuid in each.wanted.gpus}
            for gpu in reading.gpus or ():
                if users := reading.users.get(gpu.uuid):
                    yield name, f"GPU {gpu.number}", "in use", ", ".join(users)
                elif gpu.uuid not in claimed:
                    yield name, f"GPU {gpu.number}", "free", ""
            for each in sorted(reading.claims, key=lambda c: (c.state is not State.HELD, c.place)):
                state = "held" if each.state is State.HELD else "waited for"
                yield name, what(each.wanted, names), state, each.who + since(each.since, now)
        for name, problem in self.problems.items():
            yield name, "Docker", "no answer", problem


def read(chosen: Mapping[str, Host], logins: Logins) -> Holdings:
    """Ask hosts what they have, all at once."""
    asked = dict.fromkeys(chosen, questions.question(True, ()))
    with hosts.opened(chosen, logins) as (machines, unreached):
        read_of, silent = readings.read(machines.values(), asked)
    return Holdings(read_of, {**unreached, **silent})


def of_processes(names: Iterable[str]) -> Holdings:
    """Return what runs of processes hold of this machine, by its names."""
    from launcher import claims, facts

    numbers = facts.gpu_numbers()
    gpus = tuple(Gpu(number, uuid) for uuid, number in numbers.items())
    uuids = {f"gpu-{number}": uuid for uuid, number in numbers.items()}
    runs: dict[tuple[str, str, bool, int], list[str]] = {}
    for note in sorted(claims.notes()):
        runs.setdefault((note.run, note.owner, note.holds, note.at_ms), []).append(note.what)
    held = tuple(
        Claim(run, "", owner, State.HELD if holds else State.WAITING, _wanted(whats, uuids),
              at_ms, since=at_ms / 1000)
        for (run, owner, holds, at_ms), whats in runs.items()
    )  # fmt: skip
    return Holdings({name: Reading(gpus=gpus, claims=held) for name in names}, {})


def _wanted(whats: Iterable[str], uuids: Mapping[str, str]) -> Wanted:
    gpus = {uuids.get(what, what[4:]) for what in whats if what.startswith("gpu-")}
    ports = {int(what[5:]) for what in whats if what.startswith("port-")}
    return Wanted(frozenset(gpus), frozenset(ports))


def _gpu_dict(gpu: Gpu, reading: Reading) -> dict[str, object]:
    held = [c.run for c in reading.claims if c.state is State.HELD and gpu.uuid in c.wanted.gpus]
    return {
        "id": gpu.number,
        "uuid": gpu.uuid,
        "run": held[0] if held else None,
        "used_by": list(reading.users.get(gpu.uuid, ())),
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
