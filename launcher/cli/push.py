"""`launch push NAME[:TAG]`: an image to the registry in its name."""

import json
import sys

from launcher.cli.arguments import parser
from launcher.cli.build import listen
from launcher.errors import InputError, Problem


def main(words: list[str]) -> int:
    """Push, and print each tag with the digest that the registry knows it by."""
    options = parser("push").parse_args(words)
    from launcher.building import push, repository
    from launcher.cli.progress import chosen_stream, display

    try:
        asked = repository.parse(options.name)
    except ValueError as error:
        raise InputError(Problem("push", str(error))) from None
    listen()
    from launcher.cli.docker_here import local_engine

    engine = local_engine()
    try:
        done = []
        for name in push.tags(engine, asked):
            print(f"pushing {name}", file=sys.stderr)
            with display(chosen_stream(as_json=options.json)) as shown:
                done.append(push.push(engine, name, shown.show))
            if not options.json:
                print(f"{name} {done[-1].digest}")
    finally:
        engine.close()
    if options.json:
        pushed = [{"image": str(name), "digest": digest} for name, digest in done]
        print(json.dumps({"pushed": pushed}, indent=2, ensure_ascii=False))
    return 0
