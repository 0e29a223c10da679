"""`launch submit list|status|logs|stop|delete`: the jobs on a platform, alike on all of them."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from launcher.cli.arguments import parser
from launcher.cli.platform import as_json, in_words, print_json, reach, wait
from launcher.errors import InputError, Problem
from launcher.platforms import Line, Platform, State, Submitted
from launcher.table import table

if TYPE_CHECKING:
    from argparse import Namespace

_HEAD = ("job", "name", "state", "since")


def main(words: list[str]) -> int:
    """Do what a verb says; the first of `words` is the verb."""
    options = parser("submit").parse_intermixed_args(words)
    given = {"platform": options.platform, "cluster": options.cluster}
    platform = reach({k: v for k, v in given.items() if v}, os.environ)
    if options.verb == "list":
        return _list(platform, options)
    if not options.job:
        raise InputError(Problem(f"submit {options.verb}", "expected the JOB"))
    return _VERBS[options.verb](platform, options)


def _list(platform: Platform, options: "Namespace") -> int:
    jobs = platform.jobs()
    if options.json:
        print_json({"jobs": [as_json(job) for job in jobs]})
    else:
        print("\n".join(table(_HEAD, map(_row, jobs))) if jobs else "no jobs")
    return 0


def _row(job: Submitted) -> Sequence[str]:
    since = "" if job.since is None else f"{datetime.fromtimestamp(job.since):%Y-%m-%d %H:%M}"
    return job.id, job.name, in_words(job), since


def _status(platform: Platform, options: "Namespace") -> int:
    job = platform.job(options.job)
    if options.json:
        print_json(as_json(job))
        return 0
    print(f"{job.id}  {job.name}  {in_words(job)}")
    for name, text in job.details.items():
        print(f"  {name}: {text}")
    return 0


def _logs(platform: Platform, options: "Namespace") -> int:
    """Print the lines; when followed to its end, the code is the job's."""
    show = _as_json_line if options.json else _as_text
    for line in platform.logs(options.job, follow=options.follow):
        print(show(line), flush=options.follow)
    if not options.follow:
        return 0
    return wait(platform, Submitted(options.job, "", State.UNKNOWN), say=False)


def _as_text(line: Line) -> str:
    text = "".join(c if c.isprintable() or c == "\t" else "?" for c in line.text)
    return f"{line.source} | {text}" if line.source else text


def _as_json_line(line: Line) -> str:
    return json.dumps(line._asdict(), ensure_ascii=False)


def _stop(platform: Platform, options: "Namespace") -> int:
    platform.stop(options.job)
    return _told(platform.job(options.job), options)


def _delete(platform: Platform, options: "Namespace") -> int:
    platform.delete(options.job)
    if options.json:
        print_json({"deleted": options.job})
    else:
        print(f"launch: {options.job}: deleted", file=sys.stderr)
    return 0


def _told(job: Submitted, options: "Namespace") -> int:
    if options.json:
        print_json(as_json(job))
    else:
        print(f"{job.id}: {in_words(job)}")
    return 0


_VERBS: dict[str, Callable[[Platform, "Namespace"], int]] = {
    "status": _status,
    "logs": _logs,
    "stop": _stop,
    "delete": _delete,
}
