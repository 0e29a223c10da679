"""The bytes below one SSH connection: a TCP socket, a proxy command's, or a jump host's channel.

Reads in large pieces, as a system call for each header and packet would halve what a connection
moves. Knows how long the other end has been silent, and asks for a sign of life: that alone shows
a network that was cut without a word, also behind a jump host.
"""

import contextlib
import errno
import math
import time
from collections.abc import Callable
from typing import Protocol

_READ_BYTES = 256 * 1024
_TICK_S = 1.0
_QUIET_S = 4.0  # silence after which the host is asked for a sign of life
SILENT_S = 10.0  # silence, after having asked, that means a lost connection
# Of the time after which a host is given up; both are shorter where that is.
_QUIET_PART, _SILENT_PART = 1 / 4, 1 / 2


class ByteStream(Protocol):
    """What a socket and a channel of an SSH connection have in common."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def close(self) -> None: ...


class Wire:
    """A byte stream that one transport reads from and writes to, with a limit to silence."""

    def __init__(self, stream: ByteStream, close: Callable[[], None]) -> None:
        self._stream = stream
        self._close = close
        self._is_closed = False
        self._rest = memoryview(b"")
        self._heard_at = time.monotonic()
        self._asked_at: float | None = None
        self._ask: Callable[[], None] | None = None
        self._quiet_s, self._silent_s = _QUIET_S, SILENT_S
        stream.settimeout(_TICK_S)

    def watch(self, ask: Callable[[], None], unreachable_s: float = math.inf) -> None:
        """From now on call `ask` where the host is quiet, and expect an answer.

        unreachable_s: after how long a host is given up: the connection is lost before.
        """
        self._heard_at = time.monotonic()
        self._quiet_s = min(_QUIET_S, _QUIET_PART * unreachable_s)
        self._silent_s = min(SILENT_S, _SILENT_PART * unreachable_s)
        self._ask = ask

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        return time.monotonic() - self._heard_at

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises TimeoutError after a tick without any."""
        if not self._rest:
            try:
                data = self._stream.recv(max(size, _READ_BYTES))
            except TimeoutError:
                self._check_silence()
                raise
            self._heard_at, self._asked_at = time.monotonic(), None
            if len(data) <= size:
                return data
            self._rest = memoryview(data)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def send(self, data: bytes) -> int:
        """Return how many bytes were sent. Raises TimeoutError after a tick without any."""
        give_up_at = time.monotonic() + self._silent_s
        while True:
            try:
                return self._stream.send(data)
            except TimeoutError:
                if time.monotonic() > give_up_at:
                    raise ConnectionAbortedError(
                        errno.ECONNABORTED, "nothing could be sent any more"
                    ) from None

    def settimeout(self, _timeout: float | None) -> None:
        """Keep our own tick: a shorter one costs processor time for each idle connection."""

    @property
    def _closed(self) -> bool:  # paramiko looks here whether a socket is closed
        return self._is_closed

    def close(self) -> None:
        """Close the stream; a recv that waits returns at once."""
        self._is_closed = True
        with contextlib.suppress(OSError, EOFError):  # EOFError: of a jump that is gone
            self._close()

    def _check_silence(self) -> None:
        if self._ask is None:
            return
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > self._silent_s:
            # Not a TimeoutError: paramiko takes that for a tick.
            raise ConnectionAbortedError(
                errno.ECONNABORTED, f"no answer for {now - self._heard_at:.0f} s"
            )
        if self._asked_at is None and now - self._heard_at > self._quiet_s:
            self._asked_at = now
            self._ask()
