"""GPUs of hosts, with fakes of NVIDIA's programs: who gets which, and what is refused before.

Nothing computes on a GPU here: `nvidia-smi` and the runtime hook are fakes (tests/testbed).
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import DEADLINE_S, Launching, until
from tests.containers.conftest import Engines
from tests.containers.test_hosts import sh
from tests.testbed import Testbed, fake_nvidia
from tests.testbed.fake_nvidia import uuid
from tests.testbed.host import Host
from tests.testbed.images import BUSYBOX

pytestmark = pytest.mark.testbed

GPUS = 4


@pytest.fixture(scope="module")
def gpus(testbed: Testbed) -> Iterator[tuple[Host, ...]]:
    """h1 and h2 with four fake GPUs each, h3 with a driver but no runtime hook, h4 with neither."""
    hosts = testbed.hosts[:4]
    for host in hosts[:3]:
        fake_nvidia.install(host.root, host.folder / "usr.local", GPUS)
    _remove(hosts[2], "nvidia-container-runtime-hook")
    _remove(hosts[3], *fake_nvidia.PROGRAMS)
    _restart(hosts[:2])
    yield hosts
    for host in hosts:
        _remove(host, *fake_nvidia.PROGRAMS)
        if host.fake_gpus:
            fake_nvidia.install(host.root, host.folder / "usr.local", host.fake_gpus)
    _restart(hosts[:2])


def _remove(host: Host, *programs: str) -> None:
    for program in programs:
        (host.folder / "usr.local/bin" / program).unlink(missing_ok=True)


def _restart(hosts: tuple[Host, ...]) -> None:
    """Start the engines anew: they look for the hook as they start."""

    def restart(host: Host) -> None:
        host.stop_docker()
        host.start_docker()

    with ThreadPoolExecutor() as pool:
        list(pool.map(restart, hosts))


@pytest.fixture(autouse=True)
def _idle(gpus: tuple[Host, ...]) -> Iterator[None]:
    yield
    for host in gpus[:3]:
        fake_nvidia.write_processes(host.root, ())


def cluster(gpus: tuple[Host, ...], lent: dict[int, str], tasks: str) -> str:
    """Return a cluster.yaml of the hosts of these numbers, with what each lends."""
    lines = [f"image: {BUSYBOX}\nhosts:\n"]
    for number, gpus_lent in lent.items():
        host = gpus[number - 1]
        lines.append(f"  {host.name}: {{address: {host.address}, gpus: {gpus_lent}, ")
        lines.append(f"ssh: {{host: {host.name}}}}}\n")
    return "".join([*lines, f"tasks: {tasks}\ntimeouts: {{grace_s: 5}}\n"])


def requested(hosts: tuple[Host, ...]) -> dict[str, list[str]]:
    """Return which device ids each running task's container was created with."""
    found = {}
    for host in hosts:
        for listed in host.engine.request("GET", "/containers/json"):
            described: dict[str, Any] = host.engine.request(
                "GET", f"/containers/{listed['Id']}/json"
            )
            asked = described["HostConfig"]["DeviceRequests"] or []
            ids = [device for each in asked for device in each["DeviceIDs"]]
            assert not any(each["Count"] for each in asked)
            found[listed["Labels"]["launch.task"]] = ids
    return found


SHOW = "echo cuda=${CUDA_VISIBLE_DEVICES-unset} void=$NVIDIA_VISIBLE_DEVICES; "


def test_each_task_has_its_own(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Tasks get device ids, each its own, however a host names them; others get none at all."""
    named = f"[0, 2, {uuid('h2', 3)}]"
    tasks = "{worker: {hosts: [h1, h2], count: 4, gpus: 1}, chief: {host: h1, gpus: 2}, "
    tasks += "ps: {hosts: [h2]}}"
    user.cluster(cluster(gpus, {1: "4", 2: named}, tasks))
    process = user.start(*sh(SHOW + "while [ ! -e /tmp/go ]; do sleep 0.05; done"))
    until(lambda: len(remote.running()) == 6, "six containers")
    seen = requested(gpus)
    process.terminate()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143, out + err
    on_h1 = [*seen["chief:0"], *seen["worker:0"], *seen["worker:2"]]
    assert sorted(on_h1) == ["0", "1", "2", "3"]
    assert len(seen["chief:0"]) == 2
    assert sorted([*seen["worker:1"], *seen["worker:3"]]) == ["0", "2"]
    assert seen["ps:0"] == []
    assert user.log("ps-0") == b"cuda= void=void\n"
    assert user.log("worker-1").startswith(b"cuda=unset ")
    assert remote.left() == []


def test_auto(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Under `gpus: auto` nvidia-smi on the host says what there is; what is in use is left out."""
    fake_nvidia.write_processes(gpus[0].root, ((uuid("h1", 0), 77, "python", 900),))
    user.cluster(cluster(gpus, {1: "auto"}, "{worker: {count: 3, gpus: 1}}"))
    shown = user.run("--dry-run", "--hosts", "--json", *sh("true"))
    assert shown.code == 0, shown.err
    assert [task["gpus"] for task in json.loads(shown.out)["tasks"]] == [["1"], ["2"], ["3"]]
    user.cluster(cluster(gpus, {1: "auto"}, "{worker: {count: 4, gpus: 1}}"))
    refused = user.run(*sh("true"))
    assert refused.code == 2
    assert "worker:3 wants 1 of the GPUs of h1, which has 0 left" in refused.err
    assert remote.left() == []


def test_what_is_refused(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """A GPU in use, too few, no driver, no runtime: told per host, all at once, before a start."""
    fake_nvidia.write_processes(gpus[0].root, ((uuid("h1", 0), 77, "python", 900),))
    gpus[0].docker("run", "-d", "--name", "web", "--gpus", "device=1", BUSYBOX, "sleep", "1000")
    tasks = "{worker: {hosts: [h1, h2, h3, h4], count: 8, gpus: 2}}"
    lent = {1: "4", 2: f"[0, 7, {uuid('h2', 0)}, 1]", 3: "4", 4: "4"}
    user.cluster(cluster(gpus, lent, tasks))
    done = user.run(*sh("true"))
    gpus[0].docker("rm", "-f", "web")
    assert done.code == 3, done.err
    for line in (
        "h1: GPU 0, which worker:0 shall have, is used by python (pid 77)",
        "h1: GPU 1, which worker:0 shall have, is used by container web",
        "h2: has no GPU 7, which worker:1 shall have; it has 0 (GPU-",
        f"h2: GPU {uuid('h2', 0)}, which worker:5 shall have, is the one that its `gpus` name as 0",
        "h3: its Docker cannot give GPUs to containers: install nvidia-container-toolkit",
        "h4: there is no nvidia-smi; install NVIDIA's driver",
    ):
        assert f"launch: {line}" in done.err, done.err
    assert not (user.folder / "runs").exists()
    assert remote.left() == []


def test_a_run_that_has_them(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """GPUs of a run that is under way are in use, under whatever name they are wanted."""
    tasks = "{worker: {gpus: 1}}\nstrategy: multi_worker_mirrored"
    user.cluster(cluster(gpus, {1: f"[{uuid('h1', 0)}]"}, tasks))
    first = user.start(*sh("sleep 1000"))
    until(lambda: len(remote.running()) == 1, "the first run's container")
    user.cluster(cluster(gpus, {1: "1"}, tasks))
    second = user.run(*sh("true"))
    first.terminate()
    first.communicate(timeout=DEADLINE_S)
    assert second.code == 3
    said = r"h1: GPU 0, which worker:0 shall have, is (held|asked for) by run sh-"
    assert re.search(said, second.err)
    assert remote.left() == []


def test_two_runs_at_once(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """Of two runs that find the same GPU free at the same moment one gets it."""
    user.cluster(cluster(gpus, {1: "[0]"}, "{worker: {gpus: 1}}"))
    both = [user.start(*sh("sleep 2")) for _ in range(2)]
    told = [process.communicate(timeout=DEADLINE_S) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 3], told
    loser = next(t for p, t in zip(both, told, strict=True) if p.returncode)
    assert "GPU 0" in "".join(loser)
    assert remote.left() == []


def test_a_driver_that_fails(user: Launching, remote: Engines, gpus: tuple[Host, ...]) -> None:
    """What nvidia-smi says when it fails is told as it says it."""
    table = gpus[0].root / "etc/fake-nvidia/gpus.csv"
    before = table.read_text()
    table.write_text("")
    try:
        user.cluster(cluster(gpus, {1: "1"}, "{worker: {gpus: 1}}"))
        done = user.run(*sh("true"))
    finally:
        table.write_text(before)
    assert done.code == 3
    assert "h1: nvidia-smi fails (No devices were found)" in done.err
    assert remote.left() == []


def test_a_single_task_takes_one(user: Launching, gpus: tuple[Host, ...]) -> None:
    """`--single --image` gives its container one GPU of this machine, where there is one."""
    h1 = gpus[0]  # its engine plays this machine's, with the fakes on our PATH
    before = h1.engine.holdings()
    user.env["DOCKER_HOST"] = h1.engine.docker_host
    user.env["PATH"] = f"{fake_nvidia.HERE}:{user.env['PATH']}"
    user.env["FAKE_NVIDIA"] = str(h1.root / "etc/fake-nvidia")
    words = ("--single", "--image", BUSYBOX, *sh(SHOW + "sleep 1000"))
    process = user.start(*words)
    until(lambda: list(requested(gpus)) == ["chief:0"], "the container")
    assert requested(gpus) == {"chief:0": ["0"]}
    process.terminate()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143, out + err
    assert h1.engine.holdings() == before
