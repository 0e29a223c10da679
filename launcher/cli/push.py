"""`launch push NAME[:TAG]`: an image to the registry in its name."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.cli.arguments import parser
from launcher.cli.build import listen
from launcher.errors import InputError, Problem

if TYPE_CHECKING:
    from launcher.building.push import Pushed
    from launcher.building.repository import ImageName


def main(words: list[str]) -> int:
    """Push, and print each tag with the digest that the registry knows it by."""
    options = parser("push").parse_args(words)
    from launcher.building import repository

    try:
        asked = repository.parse(options.name)
    except ValueError as error:
        raise InputError(Problem("push", str(error))) from None
    listen()
    done = []
    for pushed in push_image(asked, as_json=options.json):
        done.append(pushed)
        if not options.json:
            print(f"{pushed.name} {pushed.digest}")
    if options.json:
        shown = [{"image": str(name), "digest": digest} for name, digest in done]
        print(json.dumps({"pushed": shown}, indent=2, ensure_ascii=False))
    return 0


def push_image(asked: "ImageName", *, as_json: bool) -> "Iterator[Pushed]":
    """Yield each tag of an image once the registry has it, telling meanwhile how far it is."""
    from launcher.building import push
    from launcher.cli.docker_here import local_engine
    from launcher.cli.progress import chosen_stream, display

    engine = local_engine()
    try:
        for name in push.tags(engine, asked):
            print(f"pushing {name}", file=sys.stderr)
            with display(chosen_stream(as_json=as_json)) as shown:
                pushed = push.push(engine, name, shown.show)
            yield pushed
    finally:
        engine.close()
