"""TensorFlow in containers: both strategies on real hosts, a stranger's script, and one machine."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.building.places import REPOSITORY, TENSORFLOW
from tests.conftest import Done, Launching, until
from tests.containers.conftest import Engines
from tests.testbed import Testbed

IMAGE = "mnist_dist"
ENDS_WITHIN_S = 300.0  # TensorFlow on few cores, and the first time all of the image to be packed
ONE_EPOCH = ("mnist_dist", "--epochs", "1")

pytestmark = [
    pytest.mark.testbed,
    pytest.mark.tensorflow,
    pytest.mark.timeout(ENDS_WITHIN_S + 60),
]


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer cache of one user, whose image is packed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def image(tensorflow_testbed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image on this machine's engine, as `launch build` makes it."""
    base = ("--build-arg", f"BASE_IMAGE={TENSORFLOW}", "--network", "host")
    command = [sys.executable, "-m", "launcher", "build", "-t", IMAGE, *base, str(REPOSITORY)]
    before = tensorflow_testbed.local.holdings()
    env = tensorflow_testbed.environ(tmp_path_factory.mktemp("home"))
    try:
        subprocess.run(command, env=env, check=True, timeout=ENDS_WITHIN_S, capture_output=True)
        yield IMAGE
    finally:
        tensorflow_testbed.local.remove_since(before)


@pytest.fixture
def trained(launching: Launching, user: Launching, image: str, layers: Path) -> Launching:
    """Starts `launch` where the image is."""
    launching.env["XDG_CACHE_HOME"] = str(layers)
    return launching


@pytest.fixture
def shared(testbed: Testbed) -> Iterator[str]:
    """A folder of the first host; empty ones of that name on the others."""
    path = "/srv/launch-test-checkpoints"
    try:
        for host in testbed.hosts:
            host.exec("install", "-d", "-m", "1777", path)
        yield path
    finally:
        for host in testbed.hosts:
            host.exec("rm", "-rf", path)


def hosts(testbed: Testbed, count: int = 3) -> str:
    """Return cluster.yaml up to its tasks: the image on the first hosts."""
    lines = [
        f"  {host.name}: {{address: {host.address}, ssh: {{user: ml}}}}"
        for host in testbed.hosts[:count]
    ]
    return "\n".join((f"image: {IMAGE}", "timeouts: {grace_s: 30}", "hosts:", *lines, ""))


def ended(launching: Launching, *words: str) -> Done:
    """Return what became of a `launch` that may take its time."""
    process = launching.start(*words)
    out, err = process.communicate(timeout=ENDS_WITHIN_S)
    logs = {path.name: path.read_text() for path in launching.folder.glob("runs/*/logs/*.log")}
    print(out, err, logs)  # pytest shows it where the test fails
    return Done(process.returncode, out, err)


def codes(launching: Launching) -> dict[str, int]:
    return {task["task"]: task["exit_code"] for task in launching.report()["tasks"]}


def is_home(launching: Launching) -> None:
    """The chief's model lies where the report says, and is the launching user's."""
    report: dict[str, Any] = launching.report()
    output = launching.run_dir() / "output/chief-0"
    assert Path(report["model"]).parent == output
    assert (output / "mnist/saved_model.pb").is_file()
    for name in ("mnist.keras", "mnist.h5"):
        file = (output / name).stat()
        assert file.st_size > 1_000_000
        assert file.st_uid == os.geteuid()
    assert report["metrics"]["accuracy"] > 0.9
    assert report["left_on_hosts"] == []


def test_mirrored_on_hosts(trained: Launching, remote: Engines, testbed: Testbed) -> None:
    """A chief and two workers on three hosts train together, by one login to each host.

    An evaluator that shares no folder with the chief sees its last checkpoint too.
    """
    tasks = "{chief: {host: h1}, worker: {hosts: [h2, h3]}, evaluator: {host: h2}}"
    trained.cluster(f"{hosts(testbed)}tasks: {tasks}\n")
    logins = [host.ssh_connections() for host in testbed.hosts]
    done = ended(trained, *ONE_EPOCH, "--batch_size", "48")  # which the evaluator cannot guess
    assert done.code == 0
    assert codes(trained) == dict.fromkeys(("chief:0", "worker:0", "worker:1", "evaluator:0"), 0)
    steps = trained.report()["step"]
    assert f"evaluated step {steps}/{steps}".encode() in trained.log("evaluator-0")
    made = [h.ssh_connections() - n for h, n in zip(testbed.hosts, logins, strict=True)]
    assert made == [1, 1, 1, 0]
    assert "mnist.keras" in done.out and "@launch" not in done.out
    is_home(trained)
    assert list((trained.run_dir() / "checkpoints").glob("*.index"))
    assert remote.left() == []


def test_parameter_servers_on_hosts(
    trained: Launching, remote: Engines, testbed: Testbed, shared: str
) -> None:
    """A chief, its servers and an evaluator on three hosts; `checkpoints` is a folder of theirs."""
    trained.cluster(
        f"{hosts(testbed)}checkpoints: {shared}\n"
        "tasks:\n  chief: {host: h1}\n  evaluator: {host: h1}\n"
        "  ps: {host: h2}\n  worker: {hosts: [h2, h3]}\n"
    )
    done = ended(trained, *ONE_EPOCH)
    assert done.code == 0
    ended_with = codes(trained)
    assert (ended_with.pop("chief:0"), ended_with.pop("evaluator:0")) == (0, 0)
    # Who serves has heard of the chief's end, or the launcher's SIGTERM came first.
    assert set(ended_with) == {"worker:0", "worker:1", "ps:0"}
    announced = b"the chief announced completion"
    for task, code in ended_with.items():
        assert code == -15 or (code == 0 and announced in trained.log(task.replace(":", "-")))
    assert b"evaluated step" in trained.log("evaluator-0")
    is_home(trained)
    folder = f"{shared}/{trained.run_dir().name}"
    assert ".index" in testbed.hosts[0].exec("ls", folder).stdout
    assert remote.left() == []


STRANGER = """
import json, os
import tensorflow as tf
from beside import sign

task = json.loads(os.environ["TF_CONFIG"])["task"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()

@tf.function
def total():
    def one():
        context = tf.distribute.get_replica_context()
        own = tf.cast(context.replica_id_in_sync_group + 1, tf.float32)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return strategy.run(one)

both = strategy.experimental_local_results(total())
print(sign, task["type"], task["index"], "of", strategy.num_replicas_in_sync, both[0].numpy())
"""


def test_a_script_that_knows_nothing(trained: Launching, remote: Engines, testbed: Testbed) -> None:
    """Any TF_CONFIG script runs on hosts by its path, with what `code` has beside it."""
    trained.write("proj/train.py", STRANGER)
    trained.write("proj/beside.py", "sign = 'here is'\n")
    trained.cluster(f"{hosts(testbed)}code: proj\ntasks: {{chief: {{}}, worker: {{count: 2}}}}\n")
    assert ended(trained, "proj/train.py").code == 0
    for slug, task in (("chief-0", "chief 0"), ("worker-0", "worker 0"), ("worker-1", "worker 1")):
        assert f"here is {task} of 3 6.0\n" in trained.log(slug).decode()
    assert remote.left() == []


def test_stopped_on_hosts(trained: Launching, remote: Engines, testbed: Testbed) -> None:
    """^C while hosts train: all stop at one step, its checkpoint comes home, nothing is left."""
    trained.cluster(f"{hosts(testbed, 2)}tasks: {{chief: {{}}, worker: {{}}}}\n")
    process = trained.start("mnist_dist", "--epochs", "100000")
    until(lambda: b'"kind":"step"' in trained.log("chief-0"), "a step", ENDS_WITHIN_S)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 130, out + err
    assert codes(trained) == {"chief:0": 42, "worker:0": 42}
    assert {task["state"] for task in trained.report()["tasks"]} == {"stopped"}
    first, second = re.findall(r"stopped at step (\d+) as asked", out)
    assert first == second
    assert (trained.run_dir() / f"checkpoints/ckpt-{first}.index").is_file()
    assert "Traceback" not in out + err
    assert remote.left() == []


def test_what_keeps_a_cluster_from_training(
    trained: Launching, remote: Engines, testbed: Testbed, shared: str
) -> None:
    """Hosts that do not reach each other, and a folder that may not be written to, are named."""
    first, second, *_ = testbed.hosts
    tasks = "tasks: {chief: {host: h1}, worker: {host: h2, port: 21234}}\n"
    trained.cluster(f"{hosts(testbed, 2)}checkpoints: {shared}\n{tasks}")
    first.exec("chmod", "700", shared)
    unwritable = ended(trained, *ONE_EPOCH)
    assert unwritable.code == 1
    assert f"{shared}/" in unwritable.out
    assert "cannot write checkpoints there as user 10001: Permission denied" in unwritable.out
    assert "epoch 1/1" not in unwritable.out
    second.firewall(21234)
    apart = ended(trained, *ONE_EPOCH, "--start_timeout_s=3")
    assert apart.code == 1
    where = f"worker:0 ({second.address}:21234)"
    assert f"did not form in 3 s: no connection to {where}: host down, wrong" in apart.out
    assert "Traceback" not in unwritable.out + apart.out
    assert remote.left() == []


def test_alone(trained: Launching, local: Engines) -> None:
    """`launch --single --image` trains in one container of this machine."""
    done = ended(trained, "--single", "--image", IMAGE, "mnist_single", "--epochs", "1")
    assert done.code == 0
    is_home(trained)
    assert local.left() == []


def test_mirrored_here(trained: Launching, local: Engines) -> None:
    """Containers of one machine train by each other's names; the evaluator sees checkpoints."""
    tasks = "tasks: {chief: {}, worker: {}, evaluator: {}}\n"
    trained.cluster(f"backend: docker\nimage: {IMAGE}\n{tasks}")
    assert ended(trained, *ONE_EPOCH).code == 0
    assert codes(trained) == {"chief:0": 0, "worker:0": 0, "evaluator:0": 0}
    assert b"evaluated step" in trained.log("evaluator-0")
    is_home(trained)
    assert list((trained.run_dir() / "checkpoints").glob("*.index"))
    assert local.left() == []
