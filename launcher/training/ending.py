"""How a trainer ends: its exit codes, and the words for what went wrong.

0 done; 1 failed; 2 what it was given is wrong; 42 stopped as asked with its state saved. A
process ends at once after its last word: TensorFlow's destructors may wait for peers that left.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from absl import app, flags, logging

from launcher.errors import InputError, LaunchError
from launcher.training.formation import leave
from launcher.training.stacks import dump_on_signal


def main(run: Callable[[Sequence[str]], Any], bad_input: tuple[type[Exception], ...] = ()) -> None:
    """Run an absl program to its end and end the process with the code that says how it went.

    Bad input is told on standard error, with code 2; a lost peer with code 1.

    bad_input: exceptions of the caller's own that mean bad input, beside `InputError`.
    """

    dump_on_signal()

    def calmly(arguments: Sequence[str]) -> Any:
        _calm()
        return run(arguments)

    try:
        app.run(calmly, flags_parser=_parse)
        code = 0
    except SystemExit as exit_:
        code = _code(exit_)
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        code = _tell(error, bad_input)
    leave(code)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return list(flags.FLAGS(argv))
    except flags.Error as error:
        raise InputError(str(error)) from None


def _calm() -> None:
    """Keep TensorFlow's remarks off the console; errors stay, and --verbosity still rules."""
    tf.get_logger().setLevel("ERROR")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)


def _code(exit_: SystemExit) -> int:
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    print(exit_.code, file=sys.stderr)
    return 1


def _tell(error: BaseException, bad_input: tuple[type[Exception], ...]) -> int:
    """Say what went wrong; return the exit code."""
    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
    if isinstance(error, (LaunchError, *bad_input)):
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2 if isinstance(error, (InputError, *bad_input)) else 1
    if isinstance(error, lost):
        first = (str(error.message) or type(error).__name__).splitlines()[0]
        print(f"error: another task of the cluster was lost: {first}", file=sys.stderr)
        return 1
    traceback.print_exception(error)
    return 1
