"""A task that hangs tells where, when asked by a signal: in every role, and from early on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from launcher.markers import parse
from launcher.stacks import announced
from launcher.training.testing import Processes

TRAINER = Path(__file__).with_name("trainer.py")
MARKERS = {"LAUNCH_MARKERS": "1"}
HUNG_PIPELINE = """
import sys, threading
from pathlib import Path
import keras, tensorflow as tf
from launcher import training

def never_delivers():
    for _ in range(20):
        yield [0.0], [0.0]
    print("hangs", flush=True)
    threading.Event().wait()

def make(shard):
    spec = tf.TensorSpec((1,), tf.float32)
    return tf.data.Dataset.from_generator(never_delivers, output_signature=(spec, spec)).batch(
        shard.batch_size, drop_remainder=True)

def build():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

with training.alone() as task:
    settings = training.Settings(output_dir=Path(sys.argv[1]), batch_size=1)
    task.fit(model=build, loss=keras.losses.MeanSquaredError(), settings=settings,
             train=training.Pipeline(make, 100))
"""


def may_be_asked(output: str) -> list[int]:
    """Return the processes that announced themselves, in order."""
    said = [fields for line in output.splitlines() if (fields := parse(line))]
    return [pid for fields in said if (pid := announced(fields))]


def test_a_hung_input_pipeline(tmp_path: Path) -> None:
    """Asked while an input pipeline hangs, a task prints where, of every thread."""
    script = tmp_path / "hung.py"
    script.write_text(HUNG_PIPELINE)
    with Processes(["chief:0"], tmp_path, MARKERS) as cluster:
        cluster.start([sys.executable, script, tmp_path / "out"])
        cluster.wait_for("chief:0", "^hangs")
        assert len(may_be_asked(cluster.output("chief:0"))) == 1
        cluster.send("chief:0", signal.SIGUSR1)
        cluster.wait_for("chief:0", "in never_delivers")
        cluster.wait_for("chief:0", r"Current thread [\s\S]*launcher/training/loop\.py")


def test_before_the_cluster_has_formed(tmp_path: Path) -> None:
    """A task that still waits for its peers says so, and goes on waiting."""
    with Processes(["chief:0", "worker:0"], tmp_path, MARKERS) as cluster:
        command = [sys.executable, str(TRAINER), "--output_dir", str(tmp_path / "out")]
        cluster.start(command, "worker:0")
        cluster.wait_for("worker:0", '"kind":"dumps"')
        cluster.send("worker:0", signal.SIGUSR1)
        cluster.wait_for("worker:0", "most recent call first")
        cluster.start(command, "chief:0")
        assert cluster.wait("worker:0") == 0
        assert cluster.wait("chief:0") == 0


def test_a_server_can_be_asked(tmp_path: Path) -> None:
    """A parameter server, which only waits, prints its stacks too, and serves on."""
    tasks = ["chief:0", "worker:0", "ps:0"]
    command = [sys.executable, str(TRAINER), "--output_dir", str(tmp_path / "{slug}")]
    with Processes(tasks, tmp_path, MARKERS) as cluster:
        cluster.start(command, "ps:0", "worker:0")
        cluster.wait_for("ps:0", '"kind":"ready"')
        cluster.send("ps:0", signal.SIGUSR1)
        cluster.wait_for("ps:0", "in serve")
        cluster.start(command, "chief:0")
        assert [cluster.wait(task) for task in tasks] == [0, 0, 0]


def test_a_handler_of_the_programs_own_stays(tmp_path: Path) -> None:
    """A program that uses SIGUSR1 itself keeps it, and announces nothing."""
    script = (
        "import os, signal; signal.signal(signal.SIGUSR1, lambda *_: print('own', flush=True))\n"
        "from launcher.training.stacks import dump_on_signal; dump_on_signal()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)"
    )
    environ = {**os.environ, **MARKERS}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          env=environ, check=True)  # fmt: skip
    assert done.stdout == "own\n"


def test_nothing_is_printed_without_a_launcher(tmp_path: Path) -> None:
    """On its own a trainer announces nothing, and is registered once all the same."""
    script = (
        "import os, signal; from launcher.training.stacks import dump_on_signal as on\n"
        "on(); on(); os.kill(os.getpid(), signal.SIGUSR1); print('lives')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "lives\n"
    assert done.stderr.count("most recent call first") == 1
