"""Two hundred hosts at once, against sshd's default limits."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from launcher.ssh import Connections, Target
from tests.ssh.conftest import MakeSshd
from tests.ssh.servers import Client

HOSTS = 200


@pytest.mark.parametrize("jump", [False, True], ids=["direct", "behind a jump host"])
def test_two_hundred_hosts(
    connections: Connections, client: Client, make_sshd: MakeSshd, jump: bool
) -> None:
    """Every one of 200 hosts behind one sshd of default limits is logged in to, none twice.

    The hosts are 200 names of one sshd, with a jump host of default limits before it or without.
    """
    sshd = make_sshd()
    client.trust("same-key", sshd.keys[0])
    config = f"Host gpu*\n HostName 127.0.0.1\n Port {sshd.port}\n HostKeyAlias same-key\n"
    if jump:
        bastion = make_sshd()
        client.trust(bastion.known_as, bastion.keys[0])
        config += f" ProxyJump bastion\nHost bastion\n HostName 127.0.0.1\n Port {bastion.port}\n"
    client.configure(config)
    targets = [Target(f"gpu{i}", f"gpu{i}") for i in range(HOSTS)]
    with ThreadPoolExecutor(HOSTS) as pool:
        list(pool.map(lambda target: connections.of(target).connect(), targets))
    assert sum(connections.of(target).is_alive for target in targets) == HOSTS
    assert sshd.logins() == HOSTS
    if jump:
        assert bastion.logins() == 1
