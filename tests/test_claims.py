"""Who holds a port while its server is not up yet."""

import pytest

from launcher import claims
from launcher.errors import HostError


def test_a_port_is_held_once() -> None:
    """A second run that wants a held port is told which; the others of its ports stay free."""
    with claims.ports([21991, 21992]):
        with pytest.raises(HostError, match=r"holds: 21992$"), claims.ports([21990, 21992]):
            pass
        with claims.ports([21990]):
            pass


def test_a_port_is_free_again() -> None:
    """What was held falls with its holder."""
    for _ in range(2):
        with claims.ports([21993]):
            pass
