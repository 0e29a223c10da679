"""A channel as the socket that HTTP clients expect: timeouts, makefile, and OSErrors only.

paramiko ends a channel of a lost connection as it ends one that the host closed; here the first
is an error, so that a cut stream is never taken for a whole one.
"""

import errno
import io
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from paramiko.channel import Channel

_READ_BYTES = 1024 * 1024
# What a slow reader may leave with us of one channel; a host far away needs this much on its way.
WINDOW_BYTES = 8 * 1024 * 1024
_FILE_BYTES = 64 * 1024


class SocketLike(Protocol):
    """The part of a socket that http.client and urllib3 use."""

    def send(self, data: bytes, /) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def recv_into(self, buffer: "WriteableBuffer", /) -> int: ...
    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.IOBase: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def gettimeout(self) -> float | None: ...
    def fileno(self) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class Stream:
    """A channel of a connection as a socket. Not for two readers at once, as a socket is not."""

    def __init__(self, channel: "Channel", lost: str, on_close: Callable[[], None]) -> None:
        """`lost` says what a lost connection is called; `on_close` is called once."""
        self._channel = channel
        self._lost = lost
        self._on_close = on_close
        self._rest = memoryview(b"")
        self._files = 0
        self._closing = False
        self._lock = threading.Lock()

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end. Raises OSError."""
        self._fill(size)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def recv_into(self, buffer: "WriteableBuffer") -> int:
        """Fill `buffer` with what has come; return how many bytes, none at the end."""
        view = memoryview(buffer).cast("B")
        self._fill(len(view))
        taken, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def _fill(self, size: int) -> None:
        if self._rest:
            return
        from paramiko import SSHException

        try:
            data = self._channel.recv(max(size, _READ_BYTES))
        except TimeoutError:
            raise
        except (SSHException, OSError, EOFError):  # it also sends: that there is room again
            raise ConnectionResetError(errno.ECONNRESET, self._lost) from None
        if not data and not self._channel.eof_received and not self._closing:
            raise ConnectionResetError(errno.ECONNRESET, self._lost)
        self._rest = memoryview(data)

    def send(self, data: bytes) -> int:
        """Return how many bytes were sent, at least one. Raises OSError."""
        from paramiko import SSHException

        try:
            sent = self._channel.send(data)
        except SSHException as error:
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from None
        except TimeoutError:
            raise
        except (OSError, EOFError):
            sent = 0
        if not self._channel.get_transport().is_active():
            raise ConnectionResetError(errno.ECONNRESET, self._lost)
        if not sent and data:
            raise BrokenPipeError(errno.EPIPE, "the other end was closed")
        return sent

    def sendall(self, data: bytes) -> None:
        """Send everything. Raises OSError."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view) :]  # type: ignore[arg-type]  # bytes-like is enough

    def makefile(self, mode: str = "rb", buffering: int | None = None) -> io.IOBase:
        """Return a file over the socket, which stays open until that is closed too."""
        with self._lock:
            self._files += 1
        raw = _RawFile(self)
        if buffering == 0:
            return raw
        size = buffering if buffering and buffering > 1 else _FILE_BYTES
        if "w" in mode and "r" in mode:
            return io.BufferedRWPair(raw, raw, size)
        return io.BufferedWriter(raw, size) if "w" in mode else io.BufferedReader(raw, size)

    def settimeout(self, timeout: float | None) -> None:
        """Let the other calls raise TimeoutError after so many seconds; None: never."""
        self._channel.settimeout(timeout)

    def gettimeout(self) -> float | None:
        """Return the seconds after which calls raise TimeoutError."""
        timeout: float | None = self._channel.gettimeout()
        return timeout

    def setsockopt(self, *_option: object) -> None:
        """Do nothing: no option of a TCP socket means anything here."""

    def fileno(self) -> int:
        """Return a file descriptor that is readable when the stream is; not to be read itself."""
        return self._channel.fileno()

    def shutdown(self, how: int) -> None:
        """End one direction or both, as a socket does."""
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._end(self._channel.shutdown_write)
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._closing = True
            self._channel.shutdown_read()

    def close(self) -> None:
        """Close the stream once every file made of it is closed."""
        with self._lock:
            self._closing = True
            if self._files:
                return
        self._release()

    def _file_closed(self) -> None:
        with self._lock:
            self._files -= 1
            if self._files or not self._closing:
                return
        self._release()

    def _release(self) -> None:
        self._end(self._channel.close)
        on_close, self._on_close = self._on_close, lambda: None
        on_close()

    @staticmethod
    def _end(call: Callable[[], None]) -> None:
        """Say that no more will come; a connection that is lost needs not be told."""
        from paramiko import SSHException

        try:  # noqa: SIM105 - contextlib.suppress reads no better
            call()
        except (SSHException, OSError, EOFError):
            pass


class _RawFile(io.RawIOBase):
    """The unbuffered file below those that `makefile` returns."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._sock = stream  # docker's SDK takes the socket out here, as http.client keeps it

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def readinto(self, buffer: "WriteableBuffer") -> int:
        return self._stream.recv_into(buffer)

    def write(self, data: object) -> int:
        return self._stream.send(bytes(data))  # type: ignore[call-overload]

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream._file_closed()
