"""`launch ps`: the runs on a cluster's hosts and on this machine, each in a line."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from launcher.cli.arguments import parser
from launcher.cli.reaching import cluster_hosts, reached, runs_folder
from launcher.cluster import Host
from launcher.errors import HostError
from launcher.table import table

if TYPE_CHECKING:
    from launcher.found import Found
    from launcher.overview import Overview
    from launcher.runs_here import RunHere

Unreached = Mapping[str, str]  #: why, by host

_HEAD = ("run", "job", "state", "up", "hosts", "since", "attempts", "ended")


def main(words: list[str]) -> int:
    """List the runs; 3 where a host could not be asked."""
    options = parser("ps").parse_args(words)
    folder = runs_folder(options.runs_dir)
    hosts = cluster_hosts(options.cluster)
    found, unreached = _on_hosts(hosts) if hosts else ((), {})
    from launcher.runs_here import runs_here

    runs = _overviews(found, runs_here(folder), hosts or {}, unreached)
    shown = [run for run in runs if options.all or not _is_over(run)]
    if options.json:
        value = {
            "runs": [_as_json(run) for run in shown],
            "hosts": list(hosts or {}),
            "unreached": unreached,
        }
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        _print(shown, hidden=len(runs) - len(shown))
    if hosts is None:
        what = f"there is no cluster.yaml here: these are the runs in {_from_here(str(folder))}"
        print(f"launch: {what} alone (--cluster FILE asks hosts)", file=sys.stderr)
    for problem in unreached.values():
        print(f"launch: {problem}", file=sys.stderr)
    return 3 if unreached else 0


def _on_hosts(hosts: Mapping[str, Host]) -> "tuple[tuple[Found, ...], Unreached]":
    """Return the runs' containers on all hosts that can be asked, and why others cannot."""
    with reached(hosts) as (machines, unreached):
        from launcher.at_once import attempts
        from launcher.found import found

        listed = attempts(machines.values(), lambda machine: found(machine.engine))
        problems = dict(unreached)
        containers: tuple[Found, ...] = ()
        for name, got in zip(machines, listed, strict=True):
            if isinstance(got, HostError):
                problems[name] = str(got)
            else:
                containers += got
    return containers, problems


def _overviews(
    found: "Sequence[Found]",
    here: "Sequence[RunHere]",
    hosts: Mapping[str, Host],
    unreached: Unreached,
) -> "list[Overview]":
    """Return every run, oldest first: what hosts tell of one wins over what its folder does."""
    from launcher.overview import Known, of_containers
    from launcher.runs_here import living_processes, overview

    by_name = {one.run: one for one in here}
    by_run = sorted(found, key=lambda one: one.run)
    now = time.time()
    runs = []
    for name, group in groupby(by_run, key=lambda one: one.run):
        known = by_name[name].known if name in by_name else Known()
        runs.append(of_containers(tuple(group), known, now, all_answered=not unreached))
    seen = {run.run for run in runs}
    answered = {host.address for name, host in hosts.items() if name not in unreached}
    open_ends = any(not one.report and not one.in_containers for one in here)
    living = living_processes() if open_ends else {}
    runs += [
        overview(one, living, asked=bool(one.addresses) and one.addresses <= answered)
        for one in here
        if one.run not in seen
    ]
    return sorted(runs, key=lambda run: run.since)


def _is_over(run: "Overview") -> bool:
    from launcher.overview import State

    return run.state in (State.OVER, State.LOST)


def _print(runs: "Sequence[Overview]", *, hidden: int) -> None:
    print("\n".join(table(_HEAD, map(_row, runs))) if runs else "no runs")
    if hidden:
        print(f"launch: {hidden} more ended here (--all shows them)", file=sys.stderr)


def _row(run: "Overview") -> Sequence[str]:
    from launcher.overview import Place, spans

    missing = run.at(Place.MISSING)
    up = f"{len(run.at(Place.UP))}/{len(run.tasks)}"
    is_live = bool(run.at(Place.UP)) and missing
    return (
        run.run,
        run.job or "-",
        f"{run.state} ({run.outcome})" if run.outcome else str(run.state),
        f"{up} without {spans(missing)}" if is_live else up,
        " ".join(run.hosts) or "-",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.since)),
        str(run.attempts),
        "; ".join(_ends(run)) or "-",
    )


def _ends(run: "Overview") -> Iterator[str]:
    """Yield the exit codes of what has ended, each with its tasks."""
    from launcher.found import ended_with
    from launcher.overview import Place, spans

    codes = {seen.task: seen.code for seen in run.tasks if seen.place is Place.ENDED}
    known = sorted({code for code in codes.values() if code is not None})
    for code in known:
        tasks = [task for task, ended in codes.items() if ended == code]
        yield (
            f"{spans(tasks)}={ended_with(code)}"
            if len(tasks) < len(run.tasks)
            else (f"all {ended_with(code)}")
        )


def _as_json(run: "Overview") -> dict[str, object]:
    from launcher.overview import Place

    return {
        "run": run.run,
        "job": run.job,
        "strategy": run.strategy or None,
        "state": run.state.value,
        "outcome": run.outcome or None,
        "supervisor": run.supervisor or None,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.since)),
        "up": len(run.at(Place.UP)),
        "total": len(run.tasks),
        "hosts": list(run.hosts),
        "attempts": run.attempts,
        "tasks": [
            {
                "task": str(seen.task),
                "role": seen.role or None,
                "host": seen.host or None,
                "state": seen.place.value,
                "attempt": seen.attempt,
                "exit_code": seen.code,
            }
            for seen in run.tasks
        ],
    }


def _from_here(path: str) -> str:
    return path.removeprefix(f"{os.getcwd()}/")
