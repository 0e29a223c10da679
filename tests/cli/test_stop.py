"""Stopping a run from a real terminal: its ^C key, and its end."""

import fcntl
import os
import pty
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import DEADLINE_S, Launching, until

SAVES = "trap 'sleep 0.1; echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done"
DEAF = "trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done"


class Terminal:
    """A terminal in which `launch` is the foreground program."""

    def __init__(self, launching: Launching, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = launching.start(
            *words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._shown = bytearray()
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                if select.select([self._ours], [], [], 0.02)[0]:
                    self._shown += os.read(self._ours, 4096)
        except OSError:  # how a terminal says that everybody has left
            return

    def shows(self, text: str, times: int = 1) -> None:
        """Wait until `text` is on the screen so many times."""
        until(lambda: self.text().count(text) == times, f"{text!r} on the screen")

    def text(self) -> str:
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    def press_interrupt(self) -> None:
        os.write(self._ours, b"\x03")

    def code(self) -> int:
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """End the terminal, as a closed window does."""
        if not self._closing.is_set():
            self._closing.set()
            self._reader.join(DEADLINE_S)
            os.close(self._ours)


Open = Callable[..., Terminal]


@pytest.fixture
def terminal(launching: Launching) -> Iterator[Open]:
    """Opens terminals, closed afterwards."""
    opened: list[Terminal] = []

    def make(*words: str) -> Terminal:
        opened.append(Terminal(launching, *words))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_interrupt_key_once(launching: Launching, terminal: Open) -> None:
    """^C reaches the launcher alone, which lets every task save; the report follows."""
    launching.cluster()
    screen = terminal("--", "sh", "-c", SAVES)
    screen.shows("up\n", 2)
    screen.press_interrupt()
    assert screen.code() == 130
    screen.shows("logs    ")
    text = screen.text()
    assert text.count("saved\n") == 2
    assert "^C\nlaunch: stopping chief:0, worker:0 (up to 5 s; once more to kill at once)" in text
    assert ": interrupted after" in text
    assert not launching.living()


def test_interrupt_key_twice(launching: Launching, terminal: Open) -> None:
    """The second ^C kills at once."""
    launching.cluster("tasks: {chief: {}, worker: {}}\ntimeouts: {grace_s: 600}\n")
    screen = terminal("--", "sh", "-c", DEAF)
    screen.shows("up\n", 2)
    screen.press_interrupt()
    screen.shows("once more to kill at once")
    screen.press_interrupt()
    assert screen.code() == 130
    screen.shows("launch: killing chief:0, worker:0")
    assert launching.report()["outcome"] == "interrupted"
    assert not launching.living()


def test_hang_up(launching: Launching, terminal: Open) -> None:
    """When the terminal goes, the run is stopped gently, and its directory is whole."""
    launching.cluster()
    screen = terminal("--", "sh", "-c", SAVES)
    screen.shows("up\n", 2)
    screen.close()
    assert screen.code() == 143
    assert launching.log("worker-0").endswith(b"saved\n")
    assert launching.report()["outcome"] == "terminated"
    assert not launching.living()


def test_a_terminal_that_is_gone(launching: Launching) -> None:
    """A launcher whose terminal is gone ends with the run's own code, without a traceback."""
    launching.cluster()
    ours, theirs = pty.openpty()
    process = launching.start("--", "sh", "-c", SAVES, stdout=theirs)
    os.close(theirs)
    until(lambda: b"up" in launching.log("chief-0") and b"up" in launching.log("worker-0"), "tasks")
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert err == "" or err.startswith("launch: nobody reads standard output any more")
    assert err.count("\n") <= 1
    assert launching.report()["outcome"] == "terminated"
