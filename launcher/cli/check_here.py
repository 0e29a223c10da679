"""`launch check --hosts` for a cluster of processes: this machine is all that there is to look at.

It needs none of the packages that containers need.
"""

import json
import os
import sys
from collections.abc import Iterator

from launcher import facts, gpus_here
from launcher.cli.arguments import Words
from launcher.cli.asked import Asked
from launcher.cli.command import Command
from launcher.cli.run import plan_here
from launcher.cluster import ClusterSpec
from launcher.errors import InputError, Problem
from launcher.layout import Job


def check_here(file: str, spec: ClusterSpec, *, as_json: bool) -> int:
    """Check fixed ports, the data and GPUs; 2 where the tasks do not fit, 3 for the machine."""
    unplanned: tuple[Problem, ...] = ()
    found = [Problem("this machine", what) for what in _problems(spec)]
    try:
        found += [Problem("", line) for line in gpus_here.problems(plan_here(_asked(spec)).tasks)]
    except InputError as error:
        unplanned = error.problems
    problems = [*unplanned, *found]
    code = (2 if unplanned else 3) if problems else 0
    if as_json:
        value = {"problems": [p._asdict() for p in problems], "notes": spec.notes}
        print(json.dumps(value, indent=2, ensure_ascii=False))
        return code
    for problem in problems:
        print(f"launch: {problem}", file=sys.stderr)
    if not problems:
        print(f"{file}: no problems; {spec.in_words}")
    for note in spec.notes:
        print(f"note: {note}", file=sys.stderr)
    return code


def _problems(spec: ClusterSpec) -> Iterator[str]:
    for task in spec.tasks:
        if task.port is not None and not facts.port_is_free(task.port):
            yield f"port {task.port}, which {task.id} shall have, is taken"
    path = spec.data.path or spec.data.sync if spec.data else None
    if path and not os.path.exists(path):
        yield f"there is no {path}; tasks shall see it"


def _asked(spec: ClusterSpec) -> Asked:
    """Return a run of nothing, to be planned and never performed."""
    run_id, cwd = facts.new_run_id("check"), os.getcwd()
    command = Command(Words({}, [], False), cwd)
    return Asked(Job("check", None, ("true",), cwd), spec, run_id, f"/{run_id}", command)
