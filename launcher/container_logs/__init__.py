"""One container's output, followed from the engine into files without loss or repetition.

The engine's own log is the truth. What has come is known by timestamp and count (`position`), so
a connection that drops, a daemon that restarts and a launcher that is killed all go on exactly
where they were.
"""

from launcher.container_logs.follower import LogFollower
from launcher.container_logs.record import position_path, stderr_path

__all__ = ["LogFollower", "position_path", "stderr_path"]
