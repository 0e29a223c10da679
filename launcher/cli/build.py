"""`launch build [CONTEXT]`: an image from a Dockerfile, with a tag for good and `latest`."""

import gc
import json
import os
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from launcher.cli.arguments import parser
from launcher.container import is_secret

if TYPE_CHECKING:
    from launcher.building.build import BuildFailed, Built
    from launcher.building.request import Request


def main(words: list[str]) -> int:
    """Build, and print the image's names; 1 when a step of the build failed."""
    options = parser("build").parse_args(words)
    from launcher.building import request
    from launcher.building.build import BuildFailed

    asked = request.read(
        options.context, options.file, options.name, options.build_arg, os.environ
    )._replace(pull=options.pull, no_cache=options.no_cache, network=options.network)
    _warn(asked)
    listen()
    try:
        built = build_image(asked, as_json=options.json)
    except BuildFailed as error:
        say_failed(error, as_json=options.json)
        return 1
    _show(built, as_json=options.json)
    return 0


def listen() -> None:
    """Make ^C and SIGTERM end what is under way in good order: nothing temporary is left."""
    gc.enable()  # an image can take an hour
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _warn(asked: "Request") -> None:
    secret = [key for key in asked.build_args if is_secret(key)]
    if secret:
        what = "the value can be read in the image's history; a secret belongs in `secrets:`"
        print(f"launch: --build-arg {', '.join(secret)}: {what}", file=sys.stderr)


def build_image(asked: "Request", *, as_json: bool) -> "Built":
    """Return the image that was asked for, telling meanwhile how far it is.

    Raises BuildFailed, and what `building.build` raises.
    """
    from launcher.building.build import build
    from launcher.cli.docker_here import local_engine
    from launcher.cli.progress import chosen_stream, display

    engine = local_engine()
    try:
        with display(chosen_stream(as_json=as_json)) as shown:
            return build(engine, asked, datetime.now(UTC), shown.show)
    except (KeyboardInterrupt, SystemExit):
        print("launch: the build was stopped; nothing was tagged", file=sys.stderr)
        raise
    finally:
        engine.close()


def say_failed(error: "BuildFailed", *, as_json: bool) -> None:
    """Print what the failed step printed, where a display has not left it, and why it failed."""
    from launcher.cli.progress import chosen_stream

    if chosen_stream(as_json=as_json).isatty():
        for line in error.output:
            print(line, file=sys.stderr)
    print(f"launch: {error}", file=sys.stderr)


def _show(built: "Built", *, as_json: bool) -> None:
    if as_json:
        value = {"image": built.tags[0], **built._asdict()}
        print(json.dumps(value, indent=2, ensure_ascii=False))
        return
    for tag in built.tags:
        print(tag)
