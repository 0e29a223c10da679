"""`launch collect RUN`: bring home what a run left on its hosts, and remove it there."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher import supervision
from launcher.at_once import at_all
from launcher.backends import Homecoming
from launcher.cli.arguments import parser
from launcher.cli.reaching import reached, runs_folder
from launcher.cli.which_run import folder_of, hosts_of, name_on_hosts
from launcher.cluster import Host
from launcher.container_logs import LogFollower
from launcher.errors import InputError, Problem
from launcher.found import Found
from launcher.hosts import Machine
from launcher.results import Collecting, Left, Results, left
from launcher.size import shown
from launcher.transfers import Transfers


def main(words: list[str]) -> int:
    """Collect; 0 when everything is home, 3 when something could not be brought."""
    options = parser("collect").parse_args(words)
    runs = runs_folder(options.runs_dir)
    folder = folder_of(options.run, runs)
    with reached(_hosts(options.cluster, folder, options.run)) as (machines, unreached):
        run_dir = folder or runs / name_on_hosts(options.run, machines)
        home = _collect(run_dir, machines, keep=options.keep)
    problems = (*unreached.values(), *(home.problems if home else ()))
    if options.json:
        output = [each._asdict() for each in home.brought] if home else []
        value = {"output": output, "left_on_hosts": problems}
        print(json.dumps(value, indent=2, ensure_ascii=False))
    elif home:
        for brought in home.brought:
            print(f"{brought.path}: {brought.files} files, {shown(brought.size_bytes)}")
        print(f"logs: {run_dir}/logs")
    elif machines:
        print(f"nothing of {run_dir.name} is left on {', '.join(machines)}")
    for problem in problems:
        print(f"launch: {problem}", file=sys.stderr)
    return 3 if problems else 0


def _hosts(cluster: str | None, run_dir: Path | None, word: str) -> Mapping[str, Host]:
    """Return the hosts to ask: those of the given file, else those of the run's own plan."""
    found = hosts_of(cluster, run_dir, word)
    if not found:
        raise InputError(Problem(word, "this run was not in containers; nothing to collect"))
    return found


def _collect(run_dir: Path, machines: Mapping[str, Machine], *, keep: bool) -> Homecoming | None:
    """Return what came home, or None where nothing is left.

    Raises:
        InputError: a task of the run still lives.
        HostError: a launcher supervises it.
    """
    found = at_all(machines.values(), lambda machine: (machine, left(machine.engine, run_dir.name)))
    each = [(machine, one) for machine, here in found for one in here]
    living = [f"{one.task} on {machine.name}" for machine, one in each if one.lives]
    if living:
        raise InputError(Problem(run_dir.name, f"still runs: {', '.join(living)}"))
    if not each:
        return None
    transfers = Transfers(None, lambda line: print(line, file=sys.stderr))
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    with supervision.hold(run_dir):
        at_all(each, lambda item: log_home(run_dir, *item))
        how = Collecting(run_dir.name, run_dir, keep, transfers.report)
        return Results(how).bring_home(machines.values())


def log_home(run_dir: Path, machine: Machine, one: Left | Found) -> None:
    """Bring the whole log of a container that has ended home. Raises HostError."""
    path = str(run_dir / "logs" / f"{one.task.slug}.{one.attempt}.log")
    LogFollower(machine.engine, one.id, path, is_over=lambda: True).run()
