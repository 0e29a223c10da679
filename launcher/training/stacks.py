"""Every thread's stack on standard error, for whoever sends SIGUSR1.

A task that hangs (a peer that went silent, an input pipeline that never delivers) can so be asked
where, also while TensorFlow waits deep within an op and Python runs no handler. TensorFlow itself
uses that signal for nothing. A supervisor must ask only those that announced it: any other process
would die of it.
"""

import faulthandler
import os
import signal
import sys

from launcher.training.progress import mark

_SIGNAL = signal.SIGUSR1
_announced: set[int] = set()  # the process in which it was done: a fork is another one


def dump_on_signal() -> None:
    """Have SIGUSR1 print the stacks from now on, unless the program has a use of its own for it."""
    if os.getpid() in _announced or signal.getsignal(_SIGNAL) is not signal.SIG_DFL:
        return
    if sys.__stderr__ is None:
        return
    try:
        faulthandler.register(_SIGNAL, file=sys.__stderr__, all_threads=True)
    except (OSError, ValueError):  # standard error is closed, or no file
        return
    _announced.add(os.getpid())
    mark("dumps", signal=_SIGNAL.name, pid=os.getpid())
