"""`launch check [FILE]`: every problem in a cluster.yaml and on its hosts, or its JSON Schema."""

import json
import os
import sys
from typing import TYPE_CHECKING

from launcher.cli.arguments import parser
from launcher.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.cluster import ClusterSpec


def main(words: list[str]) -> int:
    """Print what is wrong; 0 when nothing is, 2 for the file, 3 for its hosts."""
    options = parser("check").parse_args(words)
    if options.schema:
        from launcher.schema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    from launcher.cluster import Backend

    try:
        spec = _read(options.file)
    except InputError as error:
        if not options.json:
            raise
        problems = [problem._asdict() for problem in error.problems]
        print(json.dumps({"problems": problems}, indent=2, ensure_ascii=False))
        return 2
    if options.hosts:
        if spec.backend is Backend.PROCESS:
            from launcher.cli.check_here import check_here

            return check_here(options.file, spec, as_json=options.json)
        from launcher.cli.check_hosts import check_hosts

        return check_hosts(options.file, spec, as_json=options.json)
    if options.json:
        print(json.dumps({"problems": [], "notes": spec.notes}, indent=2, ensure_ascii=False))
        return 0
    print(f"{options.file}: no problems; {spec.in_words}")
    for note in spec.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _read(path: str) -> "ClusterSpec":
    """Return the cluster, or raise InputError with the file's problems, its platforms' too."""
    from launcher import config

    problems: list[Problem] = []
    spec = None
    try:
        spec = config.read(path)
    except InputError as error:
        problems += error.problems
    if spec or os.path.isfile(path):
        problems += (each for each in _of_platforms(path) if each not in problems)
    if problems or spec is None:
        raise InputError(problems)
    return spec


def _of_platforms(path: str) -> "Iterator[Problem]":
    from launcher import config, platforms

    for name in config.platforms_named(path):
        try:
            settings = platforms.find(name).Settings
        except InputError as error:
            yield from (Problem(f"{path} platforms.{name}", p.what) for p in error.problems)
            continue
        try:
            config.platform_settings(path, name, settings, given=True)
        except InputError as error:
            yield from error.problems
