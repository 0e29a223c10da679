"""`launch check [FILE]`: every problem in a cluster.yaml and on its hosts, or its JSON Schema."""

import json
import sys

from launcher.cli.arguments import parser
from launcher.errors import InputError


def main(words: list[str]) -> int:
    """Print what is wrong; 0 when nothing is, 2 for the file, 3 for its hosts."""
    options = parser("check").parse_args(words)
    if options.schema:
        from launcher.schema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    from launcher import config
    from launcher.cluster import Backend

    try:
        spec = config.read(options.file)
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
