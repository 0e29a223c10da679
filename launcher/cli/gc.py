"""`launch gc`: remove what dead runs and interrupted transfers left on hosts."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from launcher import config
from launcher.cli.arguments import parser
from launcher.cli.reaching import cluster_hosts, reached, runs_folder
from launcher.cluster import Host
from launcher.errors import HostError
from launcher.runs_here import RunHere, runs_here
from launcher.size import shown
from launcher.table import table

if TYPE_CHECKING:
    from launcher.garbage import Judged, RunKnown, Thing, Waste
    from launcher.hosts import Machine
    from launcher.sweeping import Stayed

_HOUR_S = 3600.0


def main(words: list[str]) -> int:
    """Sweep; 3 where a host could not be asked, or something could not be removed."""
    options = parser("gc").parse_args(words)
    hosts = cluster_hosts(options.cluster) or _this_machine()
    with reached(hosts) as (machines, unreached):
        from launcher.garbage import judge

        things, problems = _things(machines, unreached)
        answered = {host.address for name, host in hosts.items() if name not in problems}
        here = runs_here(runs_folder(options.runs_dir))
        known = {one.run: _known(one, answered) for one in here}
        older_s = options.older * _HOUR_S
        judged = judge(things, known, time.time(), older_s, all_answered=not problems)
        judged, stayed = _swept(machines, judged, dry=options.dry_run)
    if options.json:
        print(json.dumps(_as_json(judged, stayed, problems, dry=options.dry_run), indent=2))
    else:
        _print(judged, dry=options.dry_run)
    for kept in judged.kept:
        print(f"launch: {kept.run} stays on {', '.join(kept.hosts)}: {kept.why}", file=sys.stderr)
    for each in stayed:
        thing = each.waste.thing
        print(f"launch: {thing.host}: {thing.name} stays: {each.why}", file=sys.stderr)
    for problem in problems.values():
        print(f"launch: {problem}", file=sys.stderr)
    return 3 if problems or stayed else 0


def _this_machine() -> Mapping[str, Host]:
    """Return this machine, or nothing where it has no Docker: then nothing is left there."""
    from launcher.cli.docker_here import has_engine

    return {config.THIS_MACHINE: Host("127.0.0.1")} if has_engine() else {}


def _things(
    machines: "Mapping[str, Machine]", unreached: Mapping[str, str]
) -> "tuple[list[Thing], Mapping[str, str]]":
    """Return all that is ours on the hosts, and why some cannot be asked."""
    from launcher.at_once import attempts
    from launcher.sweeping import things

    listed = attempts(machines.values(), lambda machine: things(machine.engine))
    problems = dict(unreached)
    found: list[Thing] = []
    for name, got in zip(machines, listed, strict=True):
        if isinstance(got, HostError):
            problems[name] = str(got)
        else:
            found += got
    return found, problems


def _known(here: RunHere, answered: set[str]) -> "RunKnown":
    from launcher.garbage import RunKnown

    known = here.known
    return RunKnown(known.supervisor, known.is_home, here.addresses <= answered)


def _swept(
    machines: "Mapping[str, Machine]", judged: "Judged", *, dry: bool
) -> "tuple[Judged, Sequence[Stayed]]":
    """Remove what is dead, all hosts at once; return what is gone, or would be (`dry`)."""
    from launcher.at_once import at_all
    from launcher.sweeping import Swept, sweep, with_sizes

    def of_host(machine: "Machine") -> Swept:
        mine = [each for each in judged.waste if each.thing.host == machine.name]
        sized = with_sizes(machine.engine, mine)
        return Swept(sized, ()) if dry else sweep(machine.engine, sized)

    swept = at_all(machines.values(), of_host)
    gone = tuple(each for one in swept for each in one.removed)
    return judged._replace(waste=gone), [each for one in swept for each in one.stayed]


def _print(judged: "Judged", *, dry: bool) -> None:
    if not judged.waste:
        print("nothing to remove")
        return
    print("\n".join(table(("host", "what", "name", "size", "why"), map(_row, judged.waste))))
    size = shown(_bytes(judged.waste))
    print(f"{len(judged.waste)} would be removed, {size}" if dry else
          f"{len(judged.waste)} removed, {size}")  # fmt: skip


def _row(waste: "Waste") -> Sequence[str]:
    thing = waste.thing
    size = "?" if thing.size_bytes is None else shown(thing.size_bytes)
    return thing.host, thing.kind.value, thing.name, size, waste.why


def _bytes(waste: "Iterable[Waste]") -> int:
    return sum(each.thing.size_bytes or 0 for each in waste)


def _as_json(
    judged: "Judged", stayed: "Sequence[Stayed]", problems: Mapping[str, str], *, dry: bool
) -> dict[str, object]:
    return {
        "dry_run": dry,
        "removed": [_one_as_json(each) for each in judged.waste],
        "size_bytes": _bytes(judged.waste),
        "kept": [kept._asdict() for kept in judged.kept],
        "stayed": [{**_one_as_json(each.waste), "problem": each.why} for each in stayed],
        "unreached": dict(problems),
    }


def _one_as_json(waste: "Waste") -> dict[str, object]:
    thing = waste.thing
    return {
        "host": thing.host,
        "kind": thing.kind.value,
        "name": thing.name,
        "run": thing.run or None,
        "size_bytes": thing.size_bytes,
        "why": waste.why,
    }
