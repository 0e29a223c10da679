"""Questions to the person at the terminal, if there is one."""

import sys
from collections.abc import Callable


def ask_unseen() -> Callable[[str], str] | None:
    """Return what asks a person for a passphrase, or None where nobody sits at a terminal."""
    if not sys.stdin.isatty():
        return None
    from getpass import getpass

    return getpass
