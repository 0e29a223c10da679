"""`launch resume RUN`: go on with a run from its last checkpoint, as it was asked for."""

import os

from launcher.cli import command
from launcher.cli.arguments import parser
from launcher.cli.which_run import folder_here, refuse_submitted
from launcher.errors import InputError, Problem


def main(words: list[str]) -> int:
    """Resume a run; return the exit code of what it then leads to."""
    options = parser("resume").parse_args(words)
    folder = folder_here(options.run, options.runs_dir)
    refuse_submitted(folder, "resume")
    run_dir = str(folder)
    asked = command.read(run_dir)
    if command.has_succeeded(run_dir):
        raise InputError(Problem(os.path.basename(run_dir), "has succeeded; nothing is left to do"))
    try:
        os.chdir(asked.cwd)
    except OSError as error:
        what = f"cannot be entered: {error.strerror}; the run was begun there"
        raise InputError(Problem(asked.cwd, what)) from None
    given = {name: "" for name in ("detach", "json") if getattr(options, name)}
    kept = {n: v for n, v in asked.words.options.items() if n not in ("detach", "json", "resume")}
    from launcher.cli.run import main as run

    return run(asked.words._replace(options={**kept, **given}), run_dir)
