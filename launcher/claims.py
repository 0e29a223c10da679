"""Who holds a port of this machine while its server is not up yet.

A port can be free when it is looked at and wanted by a run that is still importing TensorFlow.
So a run claims its ports for as long as its launcher lives, by names that the kernel keeps
(abstract Unix sockets): they exclude each other among all users, leave no file behind, and fall
when their holder ends, however it ends.
"""

import contextlib
import socket
from collections.abc import Iterable, Iterator

from launcher.errors import HostError


@contextlib.contextmanager
def ports(wanted: Iterable[int]) -> Iterator[None]:
    """Hold ports of this machine against other runs, all or none.

    Raises:
        HostError: with every port that another run holds.
    """
    with contextlib.ExitStack() as held:
        taken = []
        for port in wanted:
            claim = held.enter_context(socket.socket(socket.AF_UNIX))
            try:
                claim.bind(f"\0launch-port-{port}")
            except OSError:
                taken.append(str(port))
        if taken:
            raise HostError(f"ports that another run on this machine holds: {', '.join(taken)}")
        yield
