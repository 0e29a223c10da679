"""Trains mnist_single's classifier on a cluster, as the task that TF_CONFIG makes this process.

    launch --cluster cluster.yaml mnist_dist --epochs 3

Without the launcher, start it once for every task with TF_CONFIG in its environment; older forms
of TF_CONFIG are understood. The chief's last line is `loss=… accuracy=…` over the test images.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors stay visible
# Results differ by processor with it, and it says so at every start whatever the level of logs.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
import mnist_data
import mnist_single
from absl import flags

from launcher import training

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "strategy",
    os.environ.get("LAUNCH_STRATEGY", "auto"),
    "auto, multi_worker_mirrored or parameter_server",
)
flags.DEFINE_float("start_timeout_s", 300, "the longest wait for the other tasks")
flags.DEFINE_float("chief_gone_s", 120, "how long a server waits for a chief that was lost")


def main(_: object) -> None:
    mnist_single.from_flags(1)  # wrong flags end a task before its cluster forms
    with training.join(
        FLAGS.strategy,
        start_timeout_s=FLAGS.start_timeout_s,
        chief_gone_s=FLAGS.chief_gone_s,
        num_gpus=FLAGS.num_gpus,
    ) as task:
        mnist_single.fit(task)


if __name__ == "__main__":
    training.main(main, bad_input=(mnist_data.DataError,))
