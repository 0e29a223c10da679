"""`launch logs RUN [TASK]`: what a run's tasks printed, all attempts, from here or its hosts."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli import say_error
from launcher.cli.arguments import parser
from launcher.cli.log_showing import Asked, shown
from launcher.cli.reaching import cluster_hosts, reached, runs_folder
from launcher.cluster import Host
from launcher.errors import HostError, InputError, Problem
from launcher.runs_here import RunHere, began, read
from launcher.task import TaskId

if TYPE_CHECKING:
    from launcher.hosts import Machine

LAST = "last"


def main(words: list[str]) -> int:
    """Show logs; 3 where some of them could not be read."""
    options = parser("logs").parse_intermixed_args(words)
    asked = Asked(_task(options.task), options.follow, options.stderr, options.json)
    run_dir = _folder_of(options.run, runs_folder(options.runs_dir))
    here = read(run_dir) if run_dir else None
    if here and not here.in_containers and options.stderr:
        what = "a process writes both streams into one log; expected a run in containers"
        raise InputError(Problem("--stderr", what))
    if here and (not here.in_containers or here.holder or here.known.is_home):
        return _from_here(here, asked)
    hosts = _hosts(options.cluster, run_dir, options.run)
    with reached(hosts) as (machines, unreached):
        name = run_dir.name if run_dir else _on_hosts(options.run, machines)
        return _from_hosts(name, run_dir, machines, unreached, asked)


# which run


def _task(word: str | None) -> TaskId | None:
    """Return the task that a word names, as `worker:0` or `worker-0`."""
    if word is None:
        return None
    try:
        return TaskId.parse(word.replace("-", ":"))
    except ValueError:
        raise InputError(Problem(word, "expected a task such as worker:0")) from None


def _folder_of(word: str, runs: Path) -> Path | None:
    """Return the folder of the run that is meant; None where none here is."""
    if os.sep in word:
        return Path(word).absolute()
    try:
        paths = [path for path in runs.iterdir() if (path / "plan.json").is_file()]
    except OSError:
        return None
    if word == LAST:
        return max(paths, key=began, default=None)
    name = _meant(word, sorted(path.name for path in paths))
    return runs / name if name else None


def _meant(word: str, names: Sequence[str]) -> str | None:
    """Return the run that a name, or the beginning of one, means; None where there is none."""
    meant = [name for name in names if name == word] or [n for n in names if n.startswith(word)]
    if len(meant) > 1:
        raise InputError(Problem(word, f"expected one run, these begin so: {', '.join(meant)}"))
    return meant[0] if meant else None


def _hosts(cluster: str | None, run_dir: Path | None, word: str) -> Mapping[str, Host]:
    """Return the hosts to ask for a run: those of its own plan unless a cluster is given."""
    from launcher.planned import planned_hosts

    if cluster is None and run_dir is not None and (run_dir / "plan.json").is_file():
        return planned_hosts(run_dir)
    hosts = cluster_hosts(cluster)
    if not hosts:
        what = "no such run here; expected one of ./runs, or --cluster with the hosts of its"
        raise InputError(Problem(word, f"{what} containers (launch ps lists runs)"))
    return hosts


def _on_hosts(word: str, machines: "Mapping[str, Machine]") -> str:
    """Return the name of the run that is meant among those of these hosts."""
    from launcher.at_once import attempts
    from launcher.found import found

    listed = attempts(machines.values(), lambda machine: found(machine.engine))
    containers = [one for got in listed if not isinstance(got, HostError) for one in got]
    if word == LAST:
        name = max(containers, key=lambda one: one.created).run if containers else None
    else:
        name = _meant(word, sorted({one.run for one in containers}))
    if name is None:
        where = ", ".join(machines) or "any host"
        raise InputError(Problem(word, f"no such run here, and none on {where} (see launch ps)"))
    return name


# where its logs are


def _from_here(here: RunHere, asked: Asked) -> int:
    from launcher.log_sources import LogsHere

    code = shown(LogsHere(here, stderr=asked.stderr), asked)
    after = read(here.path)
    if asked.follow and here.in_containers and after and not after.report and not after.holder:
        what = "its launcher has ended, its containers may run on"
        raise HostError(f"{here.run}: {what}; `launch logs -f {here.run}` asks the hosts now")
    return code


def _from_hosts(
    run: str,
    run_dir: Path | None,
    machines: "Mapping[str, Machine]",
    unreached: Mapping[str, str],
    asked: Asked,
) -> int:
    from launcher.log_sources import logs_here
    from launcher.logs_on_hosts import LogsOnHosts

    with _own_folder() as folder:
        there = LogsOnHosts(
            machines.values(), run, folder, stderr=asked.stderr, follow=asked.follow
        )
        come = there.new()
        attempts = {(log.task, log.attempt) for log in come}
        home = logs_here(run_dir, stderr=asked.stderr) if run_dir else ()
        earlier = [log for log in home if (log.task, log.attempt) not in attempts]
        code = shown(there, asked, (*earlier, *come))
    for problem in unreached.values():
        say_error(f"launch: {problem}")
    return 3 if unreached else code


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder that goes again, also when ^C or SIGTERM ends this program."""
    folder = tempfile.mkdtemp(prefix="launch-logs-")

    def leave(signum: int, _frame: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, leave)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
