"""`launch pack`: from a script or a notebook to a job on a platform, by way of an image."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.arguments import PACK_OPTIONS, Words, parse
from launcher.cli.platform import own_image, own_options
from launcher.cli.submit import Asked, request_of, send, usage
from launcher.errors import InputError, Problem

if TYPE_CHECKING:
    from launcher.building.request import Request as Build

_NO_DIGEST = f"sha256:{'0' * 64}"


def main(words: list[str]) -> int:
    """Build, push and submit; 1 when a step of the build failed."""
    own = own_options(words)
    asked = parse(words, (*PACK_OPTIONS, *own), "pack")
    if "help" in asked.options or not words:
        print(
            usage("pack", (*PACK_OPTIONS, *own)), end="", file=sys.stdout if words else sys.stderr
        )
        return 0 if words else 2
    from launcher.building.build import BuildFailed
    from launcher.cli.build import say_failed

    if "submit" in asked.options and any(option.name == "apply" for option in own):
        asked.options["apply"] = ""
    if problems := [*_unsent(asked.options)]:
        raise InputError(problems)
    if notebook := asked.options.get("notebook"):
        script = _from_notebook(notebook)
        asked = asked._replace(rest=[script, *asked.rest], separated=False)
    try:
        return _pack(asked)
    except BuildFailed as error:
        say_failed(error, as_json=True)
        return 1


def _unsent(options: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what has a meaning only for a run that is submitted."""
    if "submit" not in options:
        for name in ("apply", "wait"):
            if name in options:
                yield Problem(f"--{name}", "expected --submit too: without it nothing is sent")


def _from_notebook(path: str) -> str:
    """Return the path of a notebook's script, made beside it; tell what was left out."""
    from launcher.notebook import MARK, script_of

    made = script_of(path)
    script = os.path.splitext(path)[0] + ".py"
    try:
        if os.path.exists(script):
            with open(script, encoding="utf-8", errors="replace") as file:
                if not file.readline().startswith(MARK):
                    what = f"is there already, and not made from {path}; rename one of them"
                    raise InputError(Problem(script, what))
        _replace(script, made.text.encode())
    except OSError as error:
        raise InputError(Problem(script, f"cannot be written: {error.strerror}")) from None
    for finding in made.findings:
        print(f"launch: {finding}", file=sys.stderr)
    return script if "/" in script else f"./{script}"


def _replace(path: str, content: bytes) -> None:
    """Write a file, all of it or none."""
    aside = f"{path}.new"
    try:
        Path(aside).write_bytes(content)
        os.replace(aside, path)
    except OSError:
        with suppress(OSError):
            os.remove(aside)
        raise


def _pack(asked: Words) -> int:
    """Check all of it before anything is built."""
    with tempfile.TemporaryDirectory(prefix="launch-pack-") as empty:
        problems: list[Problem] = []
        wanted = build = None
        try:
            wanted = request_of(asked, "pack")
        except InputError as error:
            problems += error.problems
        image = wanted.request.spec.image if wanted else None
        if wanted and (other := own_image(asked.options)):
            at = wanted.request.spec.source.where(f"platforms.{asked.options['platform']}.image")
            what = f"expected none with launch pack: {other} would run, not the image that is built"
            problems.append(Problem(at, what))
        try:
            build = _build(asked.options, image, empty)
        except InputError as error:
            problems += error.problems
        if problems or wanted is None or build is None:
            raise InputError(problems)
        job, spec = wanted.request.job, wanted.request.spec
        from launcher.files.code import code_files

        runs = os.path.dirname(wanted.request.run_dir)
        code = code_files(job.script, spec.code, leave_out=(runs,))
        wanted.platform.prepare(_with_image(wanted, f"{build.name}@{_NO_DIGEST}").request)
        image = _pushed(build._replace(code=code))
    print(f"launch: {image}", file=sys.stderr)
    return send(_with_image(wanted, image), asked.options, perform="submit" in asked.options)


def _with_image(wanted: Asked, image: str) -> Asked:
    """Return what is asked for with an image that has the code."""
    request = wanted.request
    request = request._replace(spec=request.spec._replace(image=image), code_in_image=True)
    return wanted._replace(request=request)


def _build(options: Mapping[str, str], image: str | None, empty: str) -> "Build":
    """Return the build that is asked for: of a Dockerfile, or of nothing but the file's image."""
    from launcher.building import repository, request

    context, file = options.get("context", "."), options.get("file")
    if not os.path.isdir(context):
        what = "expected a folder, this is a file" if os.path.exists(context) else "no such folder"
        raise InputError(Problem(f"--context {context}", what))
    if not file and image and not any(Path(context, f).is_file() for f in request.DEFAULT_FILES):
        context, file = empty, os.path.join(empty, "Dockerfile")
        Path(file).write_text(f"FROM {image}\n", encoding="utf-8")
    named = options.get("tag") or (image or "").partition("@")[0]
    try:
        name = repository.parse(named)
    except ValueError as error:
        what = f"{error}" if named else "missing: expected REGISTRY/NAME, where the image is pushed"
        raise InputError(Problem("-t", what)) from None
    if name.is_on_docker_hub_itself:
        what = f"{name.repository} names no registry; expected REGISTRY/{name.repository}"
        raise InputError(Problem("-t", what))
    given = options.get("tag") or name.repository
    return request.read(context, file, given, (), os.environ)


def _pushed(build: "Build") -> str:
    """Return the name of an image that was built and pushed, by its digest.

    All that is told meanwhile goes to standard error: the submission has the other to itself.
    """
    from launcher.building import repository
    from launcher.cli.build import build_image, listen
    from launcher.cli.push import push_image

    listen()
    built = build_image(build, as_json=True)
    # `latest` comes last: who pulls it finds the tag for good.
    names = [repository.parse(tag) for tag in built.tags]
    pushed = [each for name in names for each in push_image(name, as_json=True)]
    return f"{build.name}@{pushed[0].digest}"
