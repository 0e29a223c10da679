"""The command line: the only place that prints to the user and that knows exit codes.

This module finds out which command is meant, and imports no more than that command needs:
`launch --help` stays near the bare interpreter's start.
"""

import _signal  # type: ignore[import-not-found]  # the C layer suffices, `signal` costs more
import io
import os
import sys
from collections.abc import Sequence
from gc import disable as disable_gc  # `launcher.cli.gc` is a command

COMMANDS = (
    *("attach", "build", "check", "collect", "completion", "exec", "gc", "hosts", "logs", "ps"),
    *("pack", "push", "resume", "stop", "submit", "tf-config"),
)
# Commands to come: a trainer of such a name is written ./run.py.
RESERVED = frozenset({"run"})

_DOCKER_EXTRA = ("docker", "paramiko", "requests", "rich", "urllib3")


def entry() -> None:
    """Be the program `launch`: run the command line, and end with its exit code.

    The process ends without tearing the interpreter down, which would take a third of the time
    of a short command; nothing here relies on it.
    """
    disable_gc()  # a command's few objects are gone with it; a run turns it on again
    # Until a run listens for it, ^C ends us as it ends any program. As an exception it would show
    # a traceback, and is lost where it meets a callback of the interpreter's own.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _complete_streams()
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # `launch … | head`: what was wanted has been read
        pass
    except OSError as error:
        code = code or 3
        say_error(f"launch: {error.strerror}")
    os._exit(code)


def say_error(text: str) -> None:
    """Write a line on standard error, past its buffer; where nobody reads it, nothing happens."""
    try:  # noqa: SIM105 - contextlib would be one import more for `launch --help`
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def _complete_streams() -> None:
    """Give the program all three standard streams, which can show any text.

    One that was closed (`>&-`) is none to Python, and the next file opened would get its number.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit code; never raises for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # this machine's: standard output on a full disk, say
        print(f"launch: {error.strerror or error}", file=sys.stderr)
        return 3
    except SystemExit as end:  # argparse, having said what is wrong
        return end.code if isinstance(end.code, int) else 2


def _answer(words: list[str]) -> int:
    """Return the exit code of a command line; what needs no more than a text costs no more."""
    if not words or words[0] in ("-h", "--help", "help"):
        return _help(asked=bool(words))
    if words[0] == "--version":
        from launcher import __version__

        print(f"launch {__version__}")
        return 0
    return _guarded(words)


def _help(*, asked: bool) -> int:
    from launcher.cli.help import HELP

    print(HELP, end="", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _guarded(words: list[str]) -> int:
    from launcher.errors import HostError, InputError

    try:
        return _command(words)
    except InputError as error:
        for problem in error.problems:
            print(f"launch: {problem}", file=sys.stderr)
        return 2
    except HostError as error:
        for line in str(error).splitlines():
            print(f"launch: {line}", file=sys.stderr)
        return 3
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _DOCKER_EXTRA:
            raise
        what = "containers need more packages: pip install 'tf-config-launch[docker]'"
        print(f"launch: {error.name} is missing; {what}", file=sys.stderr)
        return 3


def _command(words: list[str]) -> int:
    """Run the command that the first word names, else the default one: a run."""
    from launcher.errors import InputError, Problem

    name = words[0]
    if name in COMMANDS:
        from importlib import import_module

        code: int = import_module(f"launcher.cli.{name.replace('-', '_')}").main(words[1:])
        return code
    from launcher.cli.arguments import parse

    asked = parse(words)
    if "help" in asked.options:
        return _help(asked=True)
    first = "" if asked.separated or not asked.rest else asked.rest[0]
    if first in RESERVED:
        what = "a command that this version does not have; for a trainer write"
        raise InputError(Problem(first, f"{what} ./{first}.py"))
    if first in COMMANDS:
        raise InputError(Problem(first, "expected its options after the command's name"))
    from launcher.cli.run import main as run

    return run(asked)
