"""A testbed's coming and going, on one of its own name beside any that is up."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Testbed, TestbedError, Unavailable, fake_nvidia
from tests.testbed.images import BUSYBOX
from tests.testbed.packages import require
from tests.testbed.site import Site
from tests.testbed.slurm import PROGRAMS as SLURM
from tests.testbed.sweep import leftovers

pytestmark = pytest.mark.testbed

_UP_AND_KILLED = """\
import os, signal
from tests.testbed import Testbed
from tests.testbed.slurm import Slurm
bed = Testbed.up(1)
Slurm.up(bed).run("sbatch", "--output=/dev/null", "--wrap=sleep 1000")
bed.hosts[0].docker("run", "-d", "launch-testbed/busybox:1", "sleep", "1000")
print(bed.local.docker("network", "create", "left")[:12], flush=True)
bed.local.docker("run", "-d", "--network=left", "launch-testbed/busybox:1", "sleep", "1000")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def own_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A name that no other testbed has; nothing of it is left afterwards."""
    try:
        require()
        require(SLURM)
    except Unavailable as lack:
        pytest.skip(str(lack))
    monkeypatch.setenv("LAUNCH_TESTBED", "zz")
    try:
        yield Site.here()
    finally:
        Testbed.sweep_left()


def test_what_a_killed_one_left_is_swept(own_name: Site) -> None:
    """Hosts of a killed process go with the next `down`, and with them all that ran on them."""
    killed = subprocess.run(
        [sys.executable, "-c", _UP_AND_KILLED], stdout=subprocess.PIPE, text=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    bridge = Path(f"/sys/class/net/br-{killed.stdout.strip()}")
    assert any("slurm" in left for left in leftovers(own_name))
    assert bridge.exists()
    Testbed.sweep_left()
    assert not leftovers(own_name)
    assert not bridge.exists()


def test_a_small_disk_and_fake_gpus(own_name: Site) -> None:
    """A host's disk can be filled and freed; fake GPUs answer, and others are refused."""
    bed = Testbed.up(1, disk_bytes={1: 64 << 20}, fake_gpus=2)
    try:
        host = bed.hosts[0]
        host.fill_disk()
        with pytest.raises(TestbedError, match="no space left on device"):
            host.docker("run", "--rm", BUSYBOX, "true")
        host.free_disk()
        show = "echo $NVIDIA_VISIBLE_DEVICES"
        run = ("run", "--rm", "--gpus", "device=1", BUSYBOX, "sh", "-c", show)
        assert host.docker(*run) == "1"
        with pytest.raises(TestbedError, match="unknown device"):
            host.docker("run", "--rm", "--gpus", "device=7", BUSYBOX, "true")
        assert fake_nvidia.requests(host.root) == ("1", "7")
        first = fake_nvidia.uuid("h1", 0)
        fake_nvidia.write_processes(host.root, ((first, 4711, "python", 1024),))
        query = ("nvidia-smi", "--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader")
        assert host.exec(*query).stdout == f"4711, {first}\n"
        query = ("nvidia-smi", "--query-gpu=memory.total,index", "--format=csv,noheader,nounits")
        assert host.exec(*query).stdout == "24576, 0\n24576, 1\n"
    finally:
        bed.down()
    assert not leftovers(own_name)
