"""What planning must know of this machine: its free ports, a run's id."""

import socket

import pytest

from launcher import facts
from launcher.errors import HostError
from launcher.names import is_name


def test_free_ports_are_free_and_distinct() -> None:
    """As many ports come as are asked for, none twice, each one free to listen on."""
    ports = facts.read_facts(50, gpus=False).free_ports
    assert len(set(ports)) == 50
    for port in ports[:5]:
        with socket.create_server(("0.0.0.0", port)):
            assert not facts.port_is_free(port)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_port_that_somebody_holds(family: socket.AddressFamily, address: str) -> None:
    """A port held on any address of either family is not free."""
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"no {address} here")
    with server:
        assert not facts.port_is_free(server.getsockname()[1])


def test_too_many_ports() -> None:
    """A machine that has not so many free ports is named as the reason."""
    with pytest.raises(HostError, match="no 20000 free ports"):
        facts.read_facts(20_000, gpus=False)


def test_run_ids() -> None:
    """A run's id is a name that begins with what it was made from, and never the same twice."""
    ids = {facts.new_run_id("My Trainer!") for _ in range(20)}
    assert len(ids) > 18  # two bytes of chance
    for run_id in (*ids, facts.new_run_id("…")):
        assert is_name(run_id)
    assert all(run_id.startswith("my-trainer-") for run_id in ids)
    assert facts.new_run_id("…").startswith("run-")
