"""Runs that want the same of shared hosts: who gets it, who is told, who waits.

The GPUs are fakes (tests/testbed).
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.claim import LEASE_S, State, Wanted
from launcher.claiming import Claims
from launcher.cluster import Host as HostOfFile
from launcher.engine import Engine, open_local
from launcher.errors import HostError
from launcher.hosts import LocalSession, Machine
from launcher.logins import Said
from launcher.task import CHIEF, EVALUATOR
from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_gpus import cluster
from tests.containers.test_hosts import sh
from tests.testbed import Testbed, fake_nvidia
from tests.testbed.fake_nvidia import uuid
from tests.testbed.host import Host

pytestmark = pytest.mark.testbed

ONE = "{worker: {gpus: 1}}"
TWO_HOSTS = "{worker: {count: 2, gpus: 1, hosts: [%s]}}"
Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def gpus(testbed: Testbed) -> Iterator[tuple[Host, ...]]:
    """h1 and h2 with two fake GPUs each."""
    hosts = testbed.hosts[:2]
    for host in hosts:
        fake_nvidia.install(host.root, host.folder / "usr.local", 2)
        host.stop_docker()
        host.start_docker()
    yield hosts
    for host in hosts:
        for program in fake_nvidia.PROGRAMS:
            (host.folder / "usr.local/bin" / program).unlink(missing_ok=True)
        host.stop_docker()
        host.start_docker()


def claims(host: Host, state: str = "") -> list[dict[str, str]]:
    """Return the labels of the claims on a host, past the launcher."""
    listed = host.engine.request("GET", "/volumes")["Volumes"] or ()
    labels = [each["Labels"] for each in listed if "launch.claim" in (each["Labels"] or {})]
    return [each for each in labels if state in ("", each["launch.claim"])]


def ended(process: Process) -> tuple[int, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out + err


def holds(host: Host) -> Callable[[], bool]:
    return lambda: len(claims(host, "held")) == 1


def in_queue(host: Host, count: int) -> Callable[[], bool]:
    return lambda: len(claims(host, "waiting")) == count


def stop(process: Process) -> tuple[int, str]:
    process.terminate()
    return ended(process)


def test_a_claim_says_whose_it_is(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """A claim lies on the host as long as the run lives, and names run, owner and what it has."""
    user.cluster(cluster(gpus, {1: "[1]"}, ONE))
    process = user.start(*sh("sleep 1000"))
    until(holds(gpus[0]), "the claim")
    until((user.folder / "runs").exists, "the run's folder")
    *_, labels = claims(gpus[0], "held")
    assert labels["launch.run"] == user.run_dir().name
    assert labels["launch.claim.gpus"] == uuid("h1", 1)
    assert "@" in labels["launch.claim.owner"]
    assert stop(process)[0] == 143
    assert remote.left() == []


def test_two_hosts_in_opposite_order(
    user: Launching, remote: Engines, gpus: tuple[Host, ...]
) -> None:
    """Of two runs that want the same two hosts, named the other way round, just one goes on."""
    for _ in range(3):
        both = []
        for order in ("h1, h2", "h2, h1"):
            user.cluster(cluster(gpus, {1: "[0]", 2: "[0]"}, TWO_HOSTS % order))
            both.append(user.start(*sh("sleep 1")))
            time_to_read(both[-1])
        told = [ended(process) for process in both]
        assert sorted(code for code, _ in told) == [0, 3], told
        loser = next(text for code, text in told if code)
        assert "GPU 0" in loser and re.search(r"(held|asked for) by run sh-", loser)
    assert remote.left() == []


def time_to_read(process: Process) -> None:
    """Return once a launcher has read its cluster.yaml: it has opened a connection."""

    folder = Path(f"/proc/{process.pid}/fd")

    def has_sockets() -> bool:
        with contextlib.suppress(FileNotFoundError):  # one was closed meanwhile
            return any(os.readlink(each).startswith("socket:") for each in folder.iterdir())
        return False

    until(has_sockets, "the login")


def test_waiting_in_order(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Runs that wait start in the order of their arrival, within 2 s of the release."""
    user.cluster(cluster(gpus, {1: "[0]", 2: "[0]"}, TWO_HOSTS % "h1, h2"))
    work = "date +%s.%N; echo began; sleep 0.3; date +%s.%N"
    first = user.start(*sh("sleep 1000"))
    until(holds(gpus[1]), "the first run")
    waiting = []
    for number in range(3):
        waiting.append(user.start("--wait", "--runs-dir", f"runs-{number}", *sh(work)))
        until(in_queue(gpus[0], number + 1), "the run in the queue")
    first.terminate()
    told = [ended(process) for process in waiting]
    assert ended(first)[0] == 143
    assert [code for code, _ in told] == [0, 0, 0], told
    assert "waiting for h1: GPU 0 held by run sh-" in told[0][1]
    assert "; 2 runs before this one" in told[2][1]
    assert order_of_starts(user) == [0, 1, 2]
    assert remote.left() == []


def order_of_starts(user: Launching) -> list[int]:
    """Return the runs by when they started; each within 2 s of the end of the one before."""
    began: dict[int, float] = {}
    ends: dict[int, float] = {}
    for number in range(3):
        (run,) = (user.folder / f"runs-{number}").iterdir()
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        began[number] = max(e["time"] for e in events if e["what"] == "Started")
        ends[number] = max(e["time"] for e in events if e["what"] == "Exited")
    for before, after in ((0, 1), (1, 2)):
        assert ends[before] < began[after] < ends[before] + 2.0
    return sorted(began, key=lambda number: began[number])


def test_giving_up_to_wait(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """^C to a run that waits leaves nothing of it, and those behind it move up."""
    user.cluster(cluster(gpus, {1: "[0]"}, ONE))
    first = user.start(*sh("sleep 1000"))
    until(holds(gpus[0]), "the first run")
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        second = user.start("--wait", *sh("true"))
        until(lambda: bool(claims(gpus[0], "waiting")), "the second run")
        second.send_signal(signum)
        assert ended(second)[0] == code
        assert len(claims(gpus[0])) == 1
    assert len(list((user.folder / "runs").iterdir())) == 1
    stop(first)
    assert remote.left() == []


def test_a_killed_launcher(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """What a killed launcher's containers have is theirs until they end; then it falls."""
    user.cluster(cluster(gpus, {1: "[0]"}, ONE))
    first = user.start(*sh("while [ ! -e /tmp/end ]; do sleep 0.1; done"))
    until(holds(gpus[0]), "the first run")
    until(lambda: len(remote.running()) == 1, "its container")
    name = remote.running()[0].lstrip("/")
    first.kill()
    first.wait()
    killed_at = time.monotonic()
    waiting = user.start("--wait", *sh("true"))
    until(lambda: bool(claims(gpus[0], "waiting")), "the queue")
    until(lambda: time.monotonic() > killed_at + LEASE_S + 3, "its lease's end", LEASE_S + 10)
    assert waiting.poll() is None
    assert "held by run sh-" in user.run(*sh("true")).err
    gpus[0].docker("exec", name, "touch", "/tmp/end")
    code, told = ended(waiting)
    assert code == 0, told
    assert claims(gpus[0]) == []


def test_a_claim_without_a_launcher(
    user: Launching, remote: Engines, gpus: tuple[Host, ...]
) -> None:
    """What a launcher claimed that was killed before its start falls with the lease."""
    user.cluster(cluster(gpus, {1: "[0]"}, ONE))
    first = user.start(*sh("sleep 1000"))
    until(holds(gpus[0]), "the first run")
    second = user.start("--wait", *sh("true"))
    until(lambda: bool(claims(gpus[0], "waiting")), "the second run")
    second.kill()
    second.wait()
    killed_at = time.monotonic()
    stop(first)
    third = user.start("--wait", *sh("true"))
    third.wait(LEASE_S + DEADLINE_S)
    assert ended(third)[0] == 0
    assert time.monotonic() < killed_at + LEASE_S + 5
    assert remote.left() == []


def test_a_restart_keeps_it(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Between two attempts of a task nobody gets what it had."""
    text = cluster(gpus, {1: "[0]"}, ONE)
    user.cluster(text.replace("timeouts", "restarts: {max: 3, backoff_s: 1}\ntimeouts"))
    first = user.start(*sh("[ -e /data/output/2 ] && sleep 1000; "
                           "if [ -e /data/output/1 ]; then touch /data/output/2; "
                           "else touch /data/output/1; fi; kill -9 $$"))  # fmt: skip
    until(holds(gpus[0]), "the first run")
    second = user.start("--wait", *sh("true"))
    until(lambda: user.log("worker-0", 3) == b"" and third_attempt(user), "the third attempt")
    assert second.poll() is None
    stop(first)
    assert ended(second)[0] == 0
    assert remote.left() == []


def third_attempt(user: Launching) -> bool:
    return any(
        json.loads(line).get("attempt") == 3 and json.loads(line)["what"] == "Started"
        for path in (user.folder / "runs").glob("*/events.jsonl")
        for line in path.read_text().splitlines()
    )


def test_auto_leaves_claimed_ones(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Under `gpus: auto` what runs hold is left alone; when that is not enough, they are named."""
    user.cluster(cluster(gpus, {1: "auto"}, ONE))
    both = [user.start(*sh("sleep 1000"))]
    until(holds(gpus[0]), "the first run")
    both.append(user.start(*sh("sleep 1000")))
    until(lambda: len(claims(gpus[0], "held")) == 2, "the second run")
    third = user.run(*sh("true"))
    assert third.code == 3 and "held by run sh-" in third.err
    for process in both:
        stop(process)
    assert remote.left() == []


def test_foreign_use_is_no_claim(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """What is used past the launcher is named as that; waiting would be in vain."""
    fake_nvidia.write_processes(gpus[0].root, ((uuid("h1", 0), 77, "python", 900),))
    try:
        user.cluster(cluster(gpus, {1: "[0]"}, ONE))
        done = user.run("--wait", *sh("true"))
        assert done.code == 3
        assert "GPU 0, which worker:0 shall have, is used by python (pid 77)" in done.err
        user.cluster(cluster(gpus, {1: "[1]", 2: "2"}, ONE))
        process = user.start(*sh("sleep 1000"))
        until(lambda: bool(claims(gpus[0], "held") or claims(gpus[1], "held")), "a run")
        shown = user.run("hosts", "--json")
        table = user.run("hosts")
        stop(process)
    finally:
        fake_nvidia.write_processes(gpus[0].root, ())
    listed: list[dict[str, Any]] = json.loads(shown.out)["hosts"]
    assert [gpu["used_by"] for gpu in listed[0]["gpus"]] == [["python (pid 77)"], []]
    held = [c for each in listed for c in each["claims"]]
    assert [(c["state"], len(c["gpus"])) for c in held] == [("held", 1)]
    assert "python (pid 77)" in table.out and "run sh-" in table.out
    assert remote.left() == []


def machine(host: Host) -> Machine:
    engine = Engine(host.name, open_local, str(host.docker_socket))
    silent = Said("", 0.0, 0.0)
    return Machine(host.name, HostOfFile(host.address), engine, lambda _: silent, LocalSession)


def wanted(host: Host, *gpus: int) -> dict[str, Wanted]:
    return {host.name: Wanted(frozenset(uuid(host.name, gpu) for gpu in gpus))}


def test_more_is_claimed_later(remote: Engines, gpus: tuple[Host, ...]) -> None:
    """A run that is placed anew keeps what it has where the rest is taken, and drops no claim."""
    h1 = gpus[0]
    with Claims("a", {"h1": machine(h1)}, print) as a, Claims("b", {"h1": machine(h1)}, print) as b:
        assert not a.take(wanted(h1, 0), {}, (), wait=False)
        assert not b.take(wanted(h1, 1), {}, (), wait=False)
        until(lambda: len(claims(h1, "held")) == 2, "both")
        with pytest.raises(HostError, match=f"GPU {uuid('h1', 1)} is held by run b of"):
            a.take(wanted(h1, 0, 1), {}, (), wait=False)
        with pytest.raises(HostError, match="held by run a of"):
            b.take(wanted(h1, 0), {}, (), wait=False)
        b.give_up()
        a.take(wanted(h1, 1), {}, (), wait=False)
        until(lambda: [c["launch.claim.gpus"] for c in claims(h1)] == [uuid("h1", 1)], "the rest")
    assert remote.left() == []


def test_claims_taken_up(remote: Engines, gpus: tuple[Host, ...]) -> None:
    """What lives keeps its own, whoever waits for it; what has ended holds nothing until it starts.

    A start that others are in the way of is refused, and costs those that live nothing.
    """
    h1 = gpus[0]
    with contextlib.ExitStack() as stack:
        old, a, b, c = (stack.enter_context(Claims(r, {"h1": machine(h1)}, print)) for r in "aabc")
        old.take(wanted(h1, 0, 1), {}, (), wait=False)
        b._hosts["h1"].say(State.WAITING, wanted(h1, 0)["h1"], old._place + 1)
        a.adopt(wanted(h1, 0), {EVALUATOR: wanted(h1, 1)["h1"]}, a._hosts["h1"].look())
        c.take(wanted(h1, 1), {}, (), wait=False)
        a.ensure("h1", CHIEF)
        with pytest.raises(HostError, match=f"GPU {uuid('h1', 1)} is held by run c of"):
            a.ensure("h1", EVALUATOR)
        with pytest.raises(HostError, match=f"GPU {uuid('h1', 0)} is held by run a of"):
            c.take(wanted(h1, 0, 1), {}, (), wait=False)
        c.give_up()
        a.ensure("h1", EVALUATOR)
        with pytest.raises(HostError, match=f"GPU {uuid('h1', 1)} is held by run a of"):
            c.take(wanted(h1, 1), {}, (), wait=False)
    assert remote.left() == []


def test_taken_up_while_another_waits(
    user: Launching, remote: Engines, gpus: tuple[Host, ...]
) -> None:
    """Who takes a run up goes on with what it has, before those that wait for it; who fails to
    take it up leaves that to the run.
    """
    user.cluster(cluster(gpus, {1: "[0]"}, ONE))
    first = user.start(*sh("while [ ! -e /tmp/end ]; do sleep 0.1; done"))
    until(lambda: len(remote.running()) == 1, "its container")
    name, run = remote.running()[0].lstrip("/"), user.run_dir().name
    first.kill()
    first.wait()
    waiting = user.start("--wait", *sh("true"))
    until(lambda: bool(claims(gpus[0], "waiting")), "the queue")
    (user.folder / "other" / run / "events.jsonl").mkdir(parents=True)
    failed = user.run("attach", "--runs-dir", "other", "--cluster", "cluster.yaml", run)
    assert failed.code == 2 and "cannot be made" in failed.err, failed.err
    assert waiting.poll() is None and holds(gpus[0])()
    attached = user.start("attach", run)
    events = user.folder / "runs" / run / "events.jsonl"
    until(lambda: '"Adopt"' in events.read_text() or attached.poll() is not None, "the launcher")
    assert waiting.poll() is None
    gpus[0].docker("exec", name, "touch", "/tmp/end")
    code, told = ended(attached)
    assert code == 0, told
    assert ended(waiting)[0] == 0
    assert remote.left() == []


def test_a_launcher_that_slept(
    remote: Engines, gpus: tuple[Host, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could not renew its claim in time asks again, and is told who has it now."""
    h1 = gpus[0]
    with Claims("a", {"h1": machine(h1)}, print) as a, Claims("b", {"h1": machine(h1)}, print) as b:
        a.take(wanted(h1, 0), {}, (), wait=False)
        until(holds(h1), "the claim")
        with monkeypatch.context() as patch:
            patch.setattr("launcher.host_claims.HostClaim.is_fresh", False)
            a.ensure("h1", CHIEF)  # nobody has taken it
            until(holds(h1), "the claim")
            for volume in claims(h1):
                assert volume["launch.run"] == "a"
            a.give_up()
            a._held = wanted(h1, 0)  # as one that does not know it yet
            b.take(wanted(h1, 0), {}, (), wait=False)
            with pytest.raises(HostError, match=" by run b of "):
                a.ensure("h1", CHIEF)
    assert remote.left() == []
