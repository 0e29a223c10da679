"""`launch check [FILE]`: every problem in a cluster.yaml, or its JSON Schema."""

import json
import sys

from launcher.cli.arguments import parser
from launcher.errors import InputError


def main(words: list[str]) -> int:
    """Print what is wrong with the file; 0 when nothing is, else 2."""
    options = parser("check").parse_args(words)
    if options.schema:
        from launcher.schema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    from launcher import config

    try:
        spec = config.read(options.file)
    except InputError as error:
        if not options.json:
            raise
        problems = [problem._asdict() for problem in error.problems]
        print(json.dumps({"problems": problems}, indent=2, ensure_ascii=False))
        return 2
    if options.json:
        print(json.dumps({"problems": [], "notes": spec.notes}, indent=2, ensure_ascii=False))
        return 0
    tasks = f"{len(spec.tasks)} task{'s' if len(spec.tasks) > 1 else ''}"
    print(f"{options.file}: no problems; {tasks}, {spec.backend}, {spec.strategy}")
    for note in spec.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
