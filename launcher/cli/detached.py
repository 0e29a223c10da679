"""`--detach`: the run is supervised by a launcher in the background, and this one returns.

The background launcher is started anew, with the same words, and writes what it says to
RUN/console.log. This one waits until the run is planned and checked, so that what is wrong is said
here, with the same exit code as without `--detach`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from launcher import supervision
from launcher.cli.command import DETACHED, Command

CONSOLE = "console.log"
_LOOK_S = 0.05
_READ_BYTES = 1 << 16


def begin(asked: Command, run_dir: str) -> int:
    """Start a run in the background; return once it is under way, or could not be begun."""
    is_new = not os.path.isdir(run_dir)
    os.makedirs(run_dir, exist_ok=True)
    path = os.path.join(run_dir, CONSOLE)
    at = os.path.getsize(path) if os.path.exists(path) else 0
    with open(path, "ab") as console:
        argv = [sys.executable, "-m", "launcher", *_words(asked, run_dir)]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            env={**os.environ, DETACHED: os.path.basename(run_dir)},
            start_new_session=True,
        )  # fmt: skip
    while supervision.holder(run_dir) is None:
        if process.poll() is not None:
            return _over(process.returncode, run_dir, at, is_new=is_new)
        time.sleep(_LOOK_S)
    run = os.path.basename(run_dir)
    print(f"{run} is under way; launch attach {run}, launch logs -f {run}, launch stop {run}")
    return 0


def follow(run_dir: Path) -> int:
    """Show what a run's launcher in the background says, until it ends; return its exit code.

    ^C ends the showing alone.
    """
    run = run_dir.name
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(run_dir / CONSOLE, "rb") as console:
        try:
            while True:
                is_over = supervision.holder(run_dir) is None  # read first: what comes is shown
                while data := console.read(_READ_BYTES):
                    sys.stdout.buffer.write(data)
                sys.stdout.flush()
                if is_over:
                    break
                time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            print(f"\nlaunch: {run} goes on; launch attach {run}, launch stop {run}")
            return 0
    return _exit_code(run_dir)


def _exit_code(run_dir: Path) -> int:
    from launcher.cli.perform import EXIT_CODES
    from launcher.run import Outcome

    try:
        report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
        code = EXIT_CODES[Outcome(report["outcome"])]
        return code or (3 if report["left_on_hosts"] else 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 1  # it was killed


def _words(asked: Command, run_dir: str) -> list[str]:
    """Return the command line that the background launcher is given."""
    if asked.goes_on:
        return ["resume", run_dir]
    options, rest, separated = asked.words
    given = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    return [*given, *(["--"] if separated else []), *rest]


def _over(code: int, run_dir: str, at: int, *, is_new: bool) -> int:
    """Say what the background launcher said that has ended already; return its exit code."""
    path = os.path.join(run_dir, CONSOLE)
    with open(path, "rb") as console:
        console.seek(at)
        said = console.read()
    (sys.stdout if code == 0 else sys.stderr).buffer.write(said)
    if is_new:  # nothing was begun
        with suppress(OSError):
            if os.listdir(run_dir) == [CONSOLE]:
                os.unlink(path)
                os.rmdir(run_dir)
    return code
