"""`launch logs RUN [TASK]`: what a run's tasks printed, all attempts, from here or its hosts."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli import say_error
from launcher.cli.arguments import parser
from launcher.cli.log_showing import Asked, shown
from launcher.cli.reaching import reached, runs_folder
from launcher.cli.which_run import folder_of, hosts_of, name_on_hosts
from launcher.errors import HostError, InputError, Problem
from launcher.runs_here import RunHere, read
from launcher.task import TaskId

if TYPE_CHECKING:
    from launcher.hosts import Machine


def main(words: list[str]) -> int:
    """Show logs; 3 where some of them could not be read."""
    options = parser("logs").parse_intermixed_args(words)
    asked = Asked(_task(options.task), options.follow, options.stderr, options.json)
    run_dir = folder_of(options.run, runs_folder(options.runs_dir))
    here = read(run_dir) if run_dir else None
    if here and not here.in_containers and options.stderr:
        what = "a process writes both streams into one log; expected a run in containers"
        raise InputError(Problem("--stderr", what))
    if here and (not here.in_containers or here.holder or here.known.is_home):
        return _from_here(here, asked)
    hosts = hosts_of(options.cluster, run_dir, options.run)
    with reached(hosts) as (machines, unreached):
        name = run_dir.name if run_dir else name_on_hosts(options.run, machines)
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
