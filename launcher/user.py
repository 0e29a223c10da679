"""Who uses the launcher, as this machine calls them."""

import getpass
import os


def user_name() -> str:
    """Return the user's login name; the number where the machine's list has no such user.

    So it is in a container that runs under a number of its own.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the one until Python 3.12, the other since
        return str(os.getuid())
