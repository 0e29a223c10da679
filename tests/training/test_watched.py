"""A server knows whether a launcher still watches over its run."""

import os

import pytest

from launcher.training import server


def test_watched_while_the_launcher_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by a launcher that lives, a server waits for its chief without end."""
    monkeypatch.setenv("LAUNCH_SUPERVISED", "1")
    assert server._is_watched()


def test_alone_once_the_launcher_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that was killed leaves its servers to another parent: they watch themselves."""
    monkeypatch.setenv("LAUNCH_SUPERVISED", "1")
    monkeypatch.setattr(os, "getppid", lambda: 1 if os.getpid() != 1 else 2)
    monkeypatch.setattr(server, "_STARTER", 4321)
    assert not server._is_watched()


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform nobody watches."""
    monkeypatch.delenv("LAUNCH_SUPERVISED", raising=False)
    assert not server._is_watched()
