"""Commands on a host, in session channels; no more at once than an sshd allows by default."""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from launcher.ssh.values import Completed

if TYPE_CHECKING:
    from paramiko.channel import Channel

SESSIONS = 8  # sshd's MaxSessions is 10
_READ_BYTES = 256 * 1024
_TICK_S = 0.05
_NO_INPUT_S = 1.0


class NotInTime(Exception):
    """A command did not end in time."""


def complete(channel: "Channel", command: str, stdin: bytes, give_up_at: float) -> Completed:
    """Return a command's end and output.

    Raises:
        NotInTime: it has not ended by `give_up_at`.
        ConnectionResetError: the connection was lost.
        paramiko.SSHException: the host did not start it.
    """
    from paramiko import SSHException

    channel.settimeout(max(0.1, give_up_at - time.monotonic()))
    channel.exec_command(command)

    def feed() -> None:
        # A command may end without having read everything.
        with contextlib.suppress(OSError, EOFError, SSHException):
            _send(channel, stdin)
            channel.shutdown_write()

    writer = threading.Thread(target=feed, name="ssh stdin", daemon=True)
    if len(stdin) > 16 * 1024:
        writer.start()
    elif stdin:
        feed()
    # The end of no input is told only to what still runs after a while: where a command ends just
    # then, it would reach whoever has the channel's number next.
    tell_at = math.inf if stdin else time.monotonic() + _NO_INPUT_S
    channel.settimeout(_TICK_S)
    return _read(channel, give_up_at, tell_at, feed)


def _read(
    channel: "Channel", give_up_at: float, tell_at: float, tell: Callable[[], None]
) -> Completed:
    """Return a command's end and output; call `tell` once if it still runs at `tell_at`."""
    stdout, stderr = bytearray(), bytearray()
    while not channel.closed or channel.recv_ready() or channel.recv_stderr_ready():
        try:
            stdout += channel.recv(_READ_BYTES)  # waits for a tick at most
        except TimeoutError:
            if time.monotonic() > tell_at:
                tell_at = math.inf
                tell()
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(_READ_BYTES)
        if channel.eof_received and channel.status_event.wait(_TICK_S) and _is_drained(channel):
            break
        if time.monotonic() > give_up_at:
            raise NotInTime
    if not channel.eof_received:
        raise ConnectionResetError("the connection was lost")
    return Completed(channel.exit_status, bytes(stdout), bytes(stderr))


def _send(channel: "Channel", data: bytes) -> None:
    """Send everything, however often the tick, which reading sets, is over."""
    rest = memoryview(data)
    while rest:
        with contextlib.suppress(TimeoutError):
            sent = channel.send(rest)  # type: ignore[arg-type]  # any bytes-like will do
            if not sent:
                return
            rest = rest[sent:]


def _is_drained(channel: "Channel") -> bool:
    return not channel.recv_ready() and not channel.recv_stderr_ready()
