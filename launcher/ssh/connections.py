"""All hosts of a run: their connections, the jump hosts they share, the user's keys."""

import math
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HostError
from launcher.lean import without
from launcher.ssh.connection import Connection
from launcher.ssh.pacing import Pacing
from launcher.ssh.values import Target

if TYPE_CHECKING:
    from launcher.ssh.host_keys import HostKey
    from launcher.ssh.settings import Config, Route, Settings
    from launcher.ssh.transport import HostTransport

_AGAIN_PART = 1 / 4  # of the time after which a host is given up, for each try to reach it again


class Connections:
    """Every connection of a run. Its methods may be called from any thread."""

    def __init__(
        self,
        *,
        home: Path | None = None,
        ask: Callable[[str], str] | None = None,
        connect_s: float | None = None,
        unreachable_s: float = math.inf,
    ) -> None:
        """Connect to nothing yet.

        home: holds .ssh.
        ask: prompts for a passphrase; None where nobody can answer.
        connect_s: how long to try a host for which the user's files set no ConnectTimeout.
        unreachable_s: after how long a host that was there is given up.
        """
        from launcher.ssh.login import Keys

        with without("invoke"):  # for `Match exec`, which settings does; costs a third
            import paramiko  # noqa: F401
        self._connect_s = connect_s
        self._unreachable_s = unreachable_s
        self._home = home or Path(os.path.expanduser("~"))
        self._keys = Keys(ask)
        self._pacing = Pacing()
        self._lock = threading.RLock()
        self._config: Config | None = None
        self._of_target: dict[Target, Connection] = {}
        self._jumps: dict[Route, Connection] = {}

    def of(self, target: Target) -> Connection:
        """Return the connection to a host, the same for the same target; it connects when used.

        A jump host that is also a target has one connection for both.
        """
        with self._lock:
            if target not in self._of_target:
                jump = self._jump_at(target)
                self._of_target[target] = jump or Connection(target, partial(self._dial, target))
            return self._of_target[target]

    def shown_key(self, settings: "Settings") -> "HostKey":
        """Return the key that a host shows, without logging in to it.

        Jump hosts before it are logged in to: their keys must be trusted.

        Raises:
            HostError: it cannot be reached.
        """
        from launcher.ssh.dialing import shown_key

        return shown_key(settings, self._pacing, self._jump(settings))

    def settings(self, target: Target) -> "Settings":
        """Return what holds for a host. Raises HostError for an ~/.ssh/config with errors."""
        from launcher.ssh.settings import CONNECT_S, Config

        with self._lock:
            if self._config is None:
                self._config = Config(self._home, self._connect_s or CONNECT_S)
            return self._config.settings(target)

    def close(self) -> None:
        """Close every connection, those that go through others first."""
        with self._lock:
            jumps = set(self._jumps.values())
            ends = [c for c in self._of_target.values() if c not in jumps]
            self._of_target, self._jumps = {}, {}
        for connection in (*ends, *jumps):
            connection.close()

    def _dial(self, target: Target, *, again: bool) -> "HostTransport":
        return self._dialled(self.settings(target), again=again)

    def _dialled(self, settings: "Settings", *, again: bool) -> "HostTransport":
        """Return a transport to a host; one that was there is not tried `again` for long."""
        from launcher.ssh.dialing import dial

        if again:
            limit_s = min(settings.connect_timeout_s, _AGAIN_PART * self._unreachable_s)
            settings = settings._replace(connect_timeout_s=limit_s)
        return dial(settings, self._keys, self._pacing, self._jump(settings), self._unreachable_s)

    def _jump(self, settings: "Settings") -> Connection | None:
        """Return the connection to the jump host before a host, shared by all behind it."""
        before = settings.route.jump
        if before is None:
            return None
        with self._lock:
            if before.route not in self._jumps:
                of_target = (c for t, c in self._of_target.items() if self._is_route(t, before))
                self._jumps[before.route] = next(of_target, None) or Connection(
                    before.target,
                    partial(self._dialled, before),
                )
            return self._jumps[before.route]

    def _jump_at(self, target: Target) -> Connection | None:
        """Return the connection to a target that is in use as a jump host already."""
        if not self._jumps:
            return None
        try:
            return self._jumps.get(self.settings(target).route)
        except HostError:  # it is told when the target is used
            return None

    def _is_route(self, target: Target, jump: "Settings") -> bool:
        """Whether a target is the jump host itself."""
        return self.settings(target).route == jump.route
