"""The volumes of a run's checkpoints on its hosts: each reached once, and by one copy at a time."""

import threading
import time
from typing import TYPE_CHECKING

from launcher.engine import Engine
from launcher.errors import HostError

if TYPE_CHECKING:  # is imported with the first copy: a run begins sooner without it
    from launcher.files.checkpoint_volume import CheckpointVolume
    from launcher.files.checkpoints_given import Given

_CLOSE_S = 5.0  # for engines that are being asked for a container


class VolumeOnHost:
    """One host's volume.

    copying: to be held while something is copied from there, or to there.
    given: what an evaluator's volume was given; None where that is to be read there first.
    is_closed: whether nothing is to be made there any more.
    """

    def __init__(self, run_id: str, host: str) -> None:
        self.copying = threading.Lock()
        self.given: Given | None = None
        self.is_closed = False
        self._run_id = run_id
        self._host = host
        self._opening = threading.Lock()
        self._volume: CheckpointVolume | None = None

    def open(self, engine: Engine, task_container: str) -> "CheckpointVolume":
        """Return the volume; `task_container` is one that mounts it there.

        Raises:
            HostError: it cannot be reached, or is closed.
        """
        from launcher.files.checkpoint_volume import opened

        with self._opening:
            if self.is_closed:
                raise HostError(f"{self._host}: the run has ended")
            if self._volume is None:
                self._volume = opened(engine, self._run_id, task_container)
            return self._volume

    def forget(self) -> None:
        """Have the volume reached anew: what it was reached through may be gone."""
        self._volume = None

    def await_opened(self, give_up_at: float) -> None:
        """Return once nothing is being made there any more, or it is too late."""
        if self._opening.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
            self._opening.release()


class Volumes:
    """The volumes of a run's checkpoints, by host. One that is frozen holds up no other."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._lock = threading.Lock()
        self._hosts: dict[str, VolumeOnHost] = {}
        self._is_closed = False

    def on(self, host: str) -> VolumeOnHost:
        """Return a host's."""
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = VolumeOnHost(self._run_id, host)
                self._hosts[host].is_closed = self._is_closed
            return self._hosts[host]

    def close(self) -> None:
        """Make nothing on any host any more."""
        with self._lock:
            self._is_closed = True
            there = tuple(self._hosts.values())
        give_up_at = time.monotonic() + _CLOSE_S
        for each in there:
            each.is_closed = True
        for each in there:
            each.await_opened(give_up_at)
