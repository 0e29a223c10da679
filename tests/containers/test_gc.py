"""`launch gc` on real engines: what is dead and ours goes, everything else stays."""

import json
import threading
import time
from typing import Any

import pytest

from launcher.engine import Engine, open_local
from launcher.files.volume import DataVolume
from launcher.garbage import judge
from launcher.sweeping import Swept, sweep, things
from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import cluster, sh
from tests.containers.test_runs_found import orphaned, other
from tests.testbed import Testbed
from tests.testbed.engine import Holdings
from tests.testbed.host import Host
from tests.testbed.images import BUSYBOX

__all__ = ["other"]
pytestmark = pytest.mark.testbed

HOUR_S = 3600.0
CLAIM = "launch-claim-"
RUN = ("--label", "launch.schema=1", "--label", "launch.run=gone")
TASK = (*RUN, "--label", "launch.task=worker:0", "--label", "launch.attempt=1")


def gc(who: Launching, *words: str, code: int = 0) -> dict[str, Any]:
    done = who.run("gc", "--json", *words)
    assert done.code == code, done.out + done.err
    value: dict[str, Any] = json.loads(done.out)
    return value


def removed(value: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((each["kind"], each["name"]) for each in value["removed"])


def foreign(host: Host) -> None:
    """Make what users make: with no labels, with some like ours, and with our names."""
    docker = host.docker
    docker("create", "--name", "mine", "-v", "mine:/x", BUSYBOX, "true")
    docker("run", "--name", "launch-mine", "--label", "launch.run=mine", BUSYBOX, "true")
    docker("run", "--name", "mine-too", "--label", "launch.kind=data", BUSYBOX, "true")
    docker("volume", "create", "--label", "launch.run=mine", "launch-mine-output")
    docker("volume", "create", "launch-data-0123")
    docker("network", "create", "--label", "launch.run=mine", "launch-mine")
    docker("tag", BUSYBOX, "launch-partial:mine")


def holdings(testbed: Testbed) -> list[Holdings]:
    """Return what the engines hold but for claims, which a run that lives says again and again."""
    return [
        each._replace(volumes=frozenset(v for v in each.volumes if not v.startswith(CLAIM)))
        for each in testbed.holdings()
    ]


def test_a_run_that_is_home(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """Kept containers and volumes go, foreign ones beside them and a running run's stay."""
    user.cluster(cluster(testbed))
    assert user.run("--keep", *sh("echo x >/data/output/x")).code == 0
    name = user.run_dir().name
    foreign(testbed.hosts[0])
    runs = user.start("--runs-dir", "others", *sh("exec sleep 600"))
    until(lambda: len(remote.running()) == 3, "the other run")
    before = holdings(testbed)
    would = gc(user, "--dry-run", "--older", "0")
    kinds = [("container", f"launch-{name}-worker-{i}-1") for i in range(3)]
    kinds += [("volume", f"launch-{name}-checkpoints")]
    kinds += [("volume", f"launch-{name}-worker-{i}-output") for i in range(3)]
    assert removed(would) == kinds and would["dry_run"]
    assert holdings(testbed) == before
    done = gc(user, "--older", "0")
    assert removed(done) == kinds and done["size_bytes"] > 0
    (kept,) = done["kept"]
    assert kept["why"] == "it runs" and kept["hosts"] == ["h1", "h2", "h3"]
    after = holdings(testbed)
    went = [
        (b.containers - a.containers, b.volumes - a.volumes, b.networks - a.networks,
         b.images - a.images)
        for b, a in zip(before, after, strict=True)
    ]  # fmt: skip
    of_hosts = [(1, 2, 0, 0), (1, 1, 0, 0), (1, 1, 0, 0)]  # with a volume for checkpoints
    assert [tuple(map(len, each)) for each in went] == [(0,) * 4, *of_hosts, (0,) * 4]
    assert removed(gc(user, "--older", "0")) == []
    assert len(remote.running()) == 3
    runs.terminate()
    runs.communicate(timeout=DEADLINE_S)


def test_a_run_that_is_not_home(
    user: Launching, remote: Engines, testbed: Testbed, other: Launching
) -> None:
    """Results that nobody has fetched stay, and the command that fetches them is named."""
    user.cluster(cluster(testbed))
    name = orphaned(user, remote, "exec sleep 600")
    for number, host in enumerate(testbed.hosts[:3]):
        host.docker("kill", f"launch-{name}-worker-{number}-1")
    for who in (user, other):
        done = who.run("gc", "--older", "0")
        assert (done.code, done.out) == (0, "nothing to remove\n")
        assert f"it has ended and is not collected: launch collect {name}" in done.err
    assert user.run("collect", name).code == 0
    assert remote.left() == []


def test_a_host_that_is_gone(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """What is proved dead goes from the hosts that answer; the other one is named."""
    user.cluster(cluster(testbed))
    assert user.run("--keep", *sh("true")).code == 0
    testbed.hosts[2].stop_sshd()
    value = gc(user, code=3)
    assert [kind for kind, _ in removed(value)] == ["container"] * 2 + ["volume"] * 3
    assert list(value["unreached"]) == ["h3"]
    testbed.hosts[2].start_sshd()
    assert len(removed(gc(user))) == 2
    assert remote.left() == []


def swept(host: Host, *, in_h: float = 0.0, older_h: float = 0.0) -> Swept:
    """Sweep a host as if it were some hours later."""
    engine = Engine(host.name, open_local, str(host.engine.docker_socket))
    try:
        now = time.time() + in_h * HOUR_S
        found = judge(things(engine), {}, now, older_h * HOUR_S, all_answered=True)
        return sweep(engine, found.waste)
    finally:
        engine.close()


def names(result: Swept) -> list[str]:
    return sorted(each.thing.name for each in result.removed)


def test_what_was_never_started(testbed: Testbed) -> None:
    """A container that was just made is left to whoever starts it; an old one goes."""
    host = testbed.hosts[0]
    host.docker("create", *TASK, "--name", "launch-gone-worker-0-1", BUSYBOX, "true")
    host.docker("network", "create", *RUN, "launch-gone")
    host.docker("volume", "create", *RUN, "launch-gone-output")
    foreign(host)
    assert names(swept(host)) == []
    assert names(swept(host, in_h=1)) == ["launch-gone-worker-0-1"]
    assert names(swept(host, in_h=1)) == ["launch-gone", "launch-gone-output"]
    assert names(swept(host, in_h=9999)) == []


def test_what_has_come_to_life(testbed: Testbed) -> None:
    """What is used by the time of its removal stays: nothing is forced."""
    host = testbed.hosts[0]
    container = host.docker("create", *TASK, BUSYBOX, "sleep", "600")
    host.docker("volume", "create", *RUN, "launch-gone-output")
    engine = Engine(host.name, open_local, str(host.engine.docker_socket))
    found = judge(things(engine), {}, time.time() + HOUR_S, 0, all_answered=True).waste
    assert [each.thing.kind for each in found] == ["container"]
    host.docker("start", container)
    result = sweep(engine, found)
    assert (result.removed, [stayed.why for stayed in result.stayed]) == (
        (),
        ["it is in use now"],
    )
    engine.close()
    assert host.docker("inspect", "-f", "{{.State.Running}}", container) == "true"


def test_what_preflight_left(testbed: Testbed) -> None:
    """A listener that a killed check left goes, running as it is; a young one stays."""
    host = testbed.hosts[0]
    host.docker(
        "run", "-d", "--name", "ear", "--label", "launch.preflight=1", BUSYBOX, "sleep", "9"
    )
    assert names(swept(host)) == []
    assert names(swept(host, in_h=0.2)) == ["ear"]


def test_synced_data(user: Launching, testbed: Testbed) -> None:
    """Synced data goes with its mark when it is old, but never while a container has it."""
    user.write("digits/one", "1")
    rest = "data: {sync: digits}\ntasks: {worker: {hosts: [h1, h2, h3]}}\n"
    user.cluster(cluster(testbed, rest))
    assert user.run("--keep", *sh("cat /data/data/one")).code == 0
    host = testbed.hosts[0]
    assert names(swept(host, in_h=24, older_h=168)) == []
    assert not any("data" in name for name in names(swept(host, in_h=200, older_h=168)))
    gc(user)  # the kept containers
    both = names(swept(host, in_h=200, older_h=168))
    assert len(both) == 2 and all(name.startswith("launch-data-") for name in both)
    assert user.run(*sh("cat /data/data/one")).code == 0


def test_data_that_is_wanted_again(testbed: Testbed) -> None:
    """Data that a container takes while it is being removed stays, and counts as complete."""
    host = testbed.hosts[0]
    engine = Engine(host.name, open_local, str(host.engine.docker_socket))
    volume = DataVolume(engine, "ab" * 32)
    volume.complete(volume.begin())
    is_gone: list[bool] = []
    removing = threading.Thread(target=lambda: is_gone.append(volume.remove(2.0)))
    removing.start()
    until(lambda: not volume.is_complete(), "the mark to go")
    host.docker("create", "-v", f"{volume.name}:/data", BUSYBOX, "true")
    removing.join()
    assert is_gone == [False] and volume.is_complete()
    engine.close()


def test_beside_a_run_that_starts(user: Launching, remote: Engines, testbed: Testbed) -> None:
    """However often gc runs, a run that starts beside it has its data, volumes and results."""
    user.write("digits/one", "1")
    rest = "data: {sync: digits}\ntasks: {worker: {hosts: [h1, h2, h3]}}\n"
    user.cluster(cluster(testbed, rest))
    over = threading.Event()

    def keep_sweeping() -> None:
        while not over.is_set():
            done = user.run("gc", "--older", "0", "--json")
            assert done.code == 0, done.err
            assert removed(json.loads(done.out)) == []

    thread = threading.Thread(target=keep_sweeping)
    thread.start()
    try:
        for number in range(3):
            done = user.run("--runs-dir", f"runs{number}", *sh("cp /data/data/one /data/output/"))
            assert done.code == 0, done.out + done.err
            (run,) = (user.folder / f"runs{number}").iterdir()
            assert [(run / f"output/worker-{i}/one").read_text() for i in range(3)] == ["1"] * 3
    finally:
        over.set()
        thread.join()
    assert remote.left() == []


def test_this_machine_alone(user: Launching, local: Engines) -> None:
    """Without a cluster.yaml it is this machine's own engine that is swept."""
    assert user.run("--single", "--keep", "--image", BUSYBOX, *sh("true")).code == 0
    assert local.left()
    text = user.run("gc").out
    assert "its run has ended, and everything of it is home" in text
    assert text.splitlines()[-1].endswith(" B") and " removed, " in text
    assert local.left() == []


def test_a_shipment_that_was_interrupted(testbed: Testbed) -> None:
    """Parts of an image go once nobody goes on with them; one with a user's name stays."""
    host = testbed.hosts[0]
    text = f"FROM {BUSYBOX}\nLABEL launch.partial=sha256:1\n"
    host.docker("build", "-t", "launch-partial:a", "-", stdin=text)
    host.docker("build", "-t", "launch-partial:b", "-", stdin=f"{text}LABEL number=2\n")
    assert names(swept(host, in_h=0.2)) == []
    host.docker("tag", "launch-partial:b", "mine:1")
    assert names(swept(host, in_h=25, older_h=168)) == ["launch-partial:a"]
    assert "mine:1" in host.engine.holdings().images
    assert BUSYBOX in host.engine.holdings().images
