"""Which host dials which, what is said of it, and the program that listens."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import config
from launcher.cli.interrupts import held_back
from launcher.connectivity import pairs
from launcher.connectivity.listening import Wanted
from launcher.connectivity.matrix import addresses
from launcher.connectivity.pairs import Dial, Dialled, Outcome
from launcher.connectivity.passes import VALID_S, Passes
from launcher.layout import Job
from launcher.placement import HostFacts
from launcher.plan import Plan, plan
from tests.conftest import DEADLINE_S


def planned(hosts: int, workers: int, ps: int = 0) -> Plan:
    """Return a plan of that many tasks, spread over hosts."""
    lines = [f"  h{n}: {{address: 10.0.{n // 250}.{n % 250 + 1}}}\n" for n in range(hosts)]
    tasks = f"tasks: {{chief: {{}}, worker: {{count: {workers}}}"
    tasks += f", ps: {{count: {ps}}}" if ps else ""
    spec = config.parse(f"image: i\nhosts:\n{''.join(lines)}{tasks}}}\n")
    facts = {name: HostFacts(tuple(range(20000, 22000))) for name in spec.hosts}
    return plan(spec, Job("j", None, ("true",), "/"), "r", facts, run_dir="/r", python="python")


def test_a_small_cluster_is_dialled_wholly() -> None:
    """Every port of every host is dialled from every other host, once."""
    made = planned(3, 5)
    found = pairs.dials(made)
    expected = {
        (source, c.host, c.address.port)
        for c in made.tasks
        for source in made.hosts
        if source != c.host
    }
    assert {(d.source, d.target, d.port) for d in found} == expected
    assert len(found) == len(expected)


@given(st.integers(2, 120), st.integers(1, 300), st.integers(0, 60))
def test_a_large_cluster_is_dialled_in_part(hosts: int, workers: int, ps: int) -> None:
    """However large, every port is dialled, every host dials and reaches the chief's; few dials."""
    made = planned(hosts, workers, ps)
    found = pairs.dials(made)
    used = list(made.hosts)
    assert len(found) <= max(
        pairs.MOST_DIALS, len(used) * (len(used).bit_length() + 18) + len(made.tasks)
    )
    assert all(d.source != d.target for d in found)
    assert len(set(found)) == len(found)
    if len(used) > 1:
        dialled = {(d.target, d.port) for d in found}
        assert dialled == {(c.host, c.address.port) for c in made.tasks}
        chief = made.tasks[0]
        to_chief = {
            d.source for d in found if (d.target, d.port) == (chief.host, chief.address.port)
        }
        assert to_chief == set(used) - {chief.host}


def test_a_host_dials_few_others() -> None:
    """Among two hundred hosts none dials more than a few dozen."""
    per_source = Counter(d.source for d in pairs.dials(planned(200, 400, 50)))
    assert len(per_source) == 200 and max(per_source.values()) <= 32


def told(*failed: tuple[str, Outcome, str], remedy: str = "") -> list[str]:
    dialled = [Dialled(Dial(s, "gpu1", "10.0.0.11", 2222), o, w) for s, o, w in failed]
    return list(pairs.told(dialled, remedy, 2.0))


def test_what_is_said_of_pairs() -> None:
    """Both ends are named, with what happened and what it may be; the same is said once."""
    assert told(("gpu2", Outcome.REFUSED, "")) == [
        "gpu2 → gpu1:2222 refused; gpu1 listens, a firewall?"
    ]
    assert told(("gpu2", Outcome.SILENT, ""), ("gpu3", Outcome.SILENT, "")) == [
        "gpu2, gpu3 → gpu1:2222 no answer within 2 s; gpu1 listens, a firewall?"
    ]
    assert told(("gpu2", Outcome.NO_ROUTE, "No route to host")) == [
        "gpu2 → gpu1:2222 no route to host; "
        "gpu1 listens, is 10.0.0.11 an address that the others reach?"
    ]
    assert told(("gpu2", Outcome.OTHER, "")) == [
        "gpu2 → gpu1:2222 is answered by another machine; is 10.0.0.11 the address of gpu1?"
    ]
    many = told(*((f"h{n}", Outcome.REFUSED, "") for n in range(9)), remedy="10.1.0.11")
    assert many == [
        "h0, h1, h2, h3 and 5 more → gpu1:2222 refused; "
        "gpu1 is reached at 10.1.0.11: write `address: 10.1.0.11` in hosts.gpu1"
    ]


def test_the_addresses_of_a_host() -> None:
    """They are read from `ip` or from `hostname`, without loopback and broadcast addresses."""
    by_ip = (
        "2: eth0    inet 10.0.0.11/8 brd 10.255.255.255 scope global eth0\\  valid_lft forever\n"
        "2: eth0    inet6 fd00::11/64 scope global \\       valid_lft forever\n"
        "3: ib0    inet 10.1.0.11/24 scope global ib0\\       valid_lft forever\n"
    )
    assert addresses(by_ip) == ("10.0.0.11", "10.1.0.11", "fd00::11")
    assert addresses("127.0.0.1 10.0.0.11 fd00::11 \n") == ("10.0.0.11", "fd00::11")
    assert addresses("sh: hostname: not found") == ()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listener(*ports: int) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, *Wanted(ports, "preflight-abc", "", "").argv]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_listener() -> None:
    """It says its token to all who come, leaves its port free at once, and ends with its input."""
    port = free_port()
    process = listener(port)
    assert process.stdout and process.stdin
    assert process.stdout.readline() == f"{port} listens\n".encode()
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as peer:
            assert peer.recv(100) == b"preflight-abc"
    process.stdin.close()
    assert process.wait(DEADLINE_S) == 0
    process.stdout.close()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))


def test_a_port_that_is_taken() -> None:
    """A port that somebody has is told, and the others listen."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken, port = int(server.getsockname()[1]), free_port()
        process = listener(taken, port)
        out, _ = process.communicate(b"", DEADLINE_S)
    expected = f"{taken} Address already in use\n{port} listens\nready\n"
    assert out.decode() == expected


def test_a_pass_is_remembered_for_a_day(tmp_path: Path) -> None:
    """A pass counts for the same hosts and ports, whatever their order, for a day."""
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    two = Passes(("10.0.0.1", "10.0.0.2"), ("10.0.0.1:2222",), env)
    assert not two.is_fresh()
    two.note()
    assert Passes(("10.0.0.2", "10.0.0.1"), ("10.0.0.1:2222",), env).is_fresh()
    assert not Passes(("10.0.0.2", "10.0.0.1"), (), env).is_fresh()
    assert not Passes(("10.0.0.2", "10.0.0.3"), ("10.0.0.1:2222",), env).is_fresh()
    (file,) = (tmp_path / "launch/connected").iterdir()
    os.utime(file, (time.time() - VALID_S - 1,) * 2)
    assert not two.is_fresh()
    Passes(("10.0.0.3",), (), env).note()
    assert not file.exists()


def test_a_cache_that_cannot_be_written() -> None:
    """Where nothing can be remembered nothing fails."""
    passes = Passes(("10.0.0.1",), (), {"XDG_CACHE_HOME": "/dev/null"})
    passes.note()
    passes.forget()
    assert not passes.is_fresh()


def test_an_interrupt_waits() -> None:
    """A ^C comes when what must not be cut is done."""
    before = signal.getsignal(signal.SIGINT)
    done = False
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done and signal.getsignal(signal.SIGINT) is before
