"""The server role: a PSS worker or ps, which TensorFlow would leave running for ever.

A server leaves with 0 once the chief has announced that the run is complete, and with 1 once a
chief that it has seen cannot be reached any more, or none came. The announcement needs no shared
file system: the chief has each server's own process write a small file on its own machine.
"""

import hashlib
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import tensorflow as tf

from launcher.errors import LaunchError
from launcher.task import CHIEF, TaskId
from launcher.tf_config import TfConfig
from launcher.training.formation import leave, listens
from launcher.training.progress import mark, say

_LOOK_S = 0.2
_PROBE_S = 1.0
_ANNOUNCE_S = 10.0
_STARTER = os.getppid()


def serve(config: TfConfig, start_timeout_s: float, chief_gone_s: float) -> None:
    """Serve until the run is over, then end the process: with 0, or with 1 and a reason.

    chief_gone_s: how long a chief that was seen may be unreachable; without end while a launcher
        watches, which starts a lost chief again or ends its servers.

    Raises:
        LaunchError: when the server cannot start, as when its port is taken.
    """
    task = config.task
    assert task
    announcement = _announcement(config, task)
    with suppress(OSError):
        announcement.unlink()
    _leave_nothing(announcement)
    server = _start(config, task)
    say(f"{task} serves at {config.address(task)}, chief {config.address(CHIEF)}")
    mark("ready", role="serve")
    code, reason = _watch(config, announcement, start_timeout_s, chief_gone_s)
    with suppress(OSError):
        announcement.unlink()
    if reason:
        leave(code, f"error: {reason}")
    say(f"{task}: the chief announced completion")
    del server
    leave(code)


def _leave_nothing(announcement: Path) -> None:
    """Have SIGTERM end this process at once, as ever, but without leaving the file behind."""

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            announcement.unlink()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def announce(config: TfConfig) -> None:
    """Tell every server that the run is complete; one that does not answer is left alone."""
    servers = [task for task in config.tasks if task != CHIEF]
    threads = [threading.Thread(target=_tell, args=(config, s), daemon=True) for s in servers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ANNOUNCE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _tell(config: TfConfig, server: TaskId) -> None:
    path = str(_announcement(config, server))
    device = f"/job:{server.type}/replica:0/task:{server.index}/device:CPU:0"
    try:
        with tf.device(device):
            tf.io.write_file(path, "complete")
    except (tf.errors.OpError, ValueError) as error:
        say(f"{server} was not told that the run is complete: {str(error).splitlines()[0]}")


def _announcement(config: TfConfig, task: TaskId) -> Path:
    """Return the file that says so, equal for the chief and for `task`, other for other runs."""
    addresses = "\n".join(f"{t} {config.address(t)}" for t in config.tasks)
    text = f"{addresses}\n{task}\n{os.environ.get('LAUNCH_RUN', '')}"
    name = f"launch-{hashlib.sha256(text.encode()).hexdigest()[:24]}.done"
    return Path("/tmp", name)  # noqa: S108 - the chief must know it; whose it is gets checked


def _is_own(path: Path) -> bool:
    """Whether a file is there that this process wrote, not anyone else on this machine."""
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False


def _start(config: TfConfig, task: TaskId) -> Any:
    cluster = {kind.value: list(addresses) for kind, addresses in config.cluster.items()}
    try:
        return tf.distribute.Server(
            cluster, job_name=task.type.value, task_index=task.index, protocol="grpc"
        )
    except tf.errors.OpError as error:
        first = str(error).splitlines()[0]
        raise LaunchError(f"{task} cannot serve at {config.address(task)}: {first}") from None


def _watch(
    config: TfConfig, announcement: Path, start_timeout_s: float, chief_gone_s: float
) -> tuple[int, str]:
    """Return the exit code and, for a failure, the reason, once there is one to leave."""
    chief = config.address(CHIEF)
    last_seen = probed = started = time.monotonic()
    was_seen = False
    while not _is_own(announcement):
        now = time.monotonic()
        if now - probed >= _PROBE_S:
            probed = now
            if listens(chief):
                if not was_seen:
                    say(f"{config.task} has found the chief at {chief}")
                last_seen, was_seen = time.monotonic(), True
        if not was_seen and now - started >= start_timeout_s:
            return 1, f"no chief came at {chief} within {start_timeout_s:g} s"
        if was_seen and now - last_seen >= chief_gone_s and not _is_watched():
            return 1, f"the chief at {chief} has been unreachable for {chief_gone_s:g} s"
        time.sleep(_LOOK_S)
    return 0, ""


def _is_watched() -> bool:
    """Whether a launcher watches over this run: the one that started this process still lives.

    In a container it is the container's init that started us, and that lives as long as we do.
    """
    return os.environ.get("LAUNCH_SUPERVISED") == "1" and os.getppid() == _STARTER
