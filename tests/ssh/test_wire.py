"""How long an SSH connection may be silent."""

import socket
import time

import pytest

from launcher.ssh import wire
from launcher.ssh.wire import Wire


def test_a_host_that_is_given_up_soon_is_missed_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost before the host would be given up, having asked for a sign of life."""
    monkeypatch.setattr(wire, "_TICK_S", 0.02)
    ours, theirs = socket.socketpair()
    asked: list[float] = []
    with ours, theirs:
        line = Wire(ours, ours.close)
        line.watch(lambda: asked.append(line.silent_s), unreachable_s=0.8)
        began_at = time.monotonic()
        with pytest.raises(ConnectionAbortedError):
            while time.monotonic() < began_at + wire.SILENT_S:
                try:
                    line.recv(1)
                except TimeoutError:  # a tick
                    continue
    (first,) = asked
    assert 0.2 <= first <= line.silent_s
    assert 0.6 <= line.silent_s < wire.SILENT_S
