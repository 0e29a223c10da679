"""Real hosts on one machine: each with its own network, files, sshd and Docker Engine.

`python -m tests.testbed up 4` makes them for a person, the fixture `testbed` for tests.
"""

from tests.testbed.commands import TestbedError, Unavailable
from tests.testbed.host import Host
from tests.testbed.local import Local
from tests.testbed.testbed import Testbed

__all__ = ["Host", "Local", "Testbed", "TestbedError", "Unavailable"]
