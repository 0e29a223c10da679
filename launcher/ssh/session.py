"""A shell script that runs on a host for as long as somebody here wants it to."""

import contextlib
import errno
import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko.channel import Channel


class HostSession:
    """One running script. The methods raise OSError where the connection is lost."""

    def __init__(self, channel: "Channel", script: str, on_close: Callable[[], None]) -> None:
        """Start the script with `sh`; `on_close` is called once."""
        self._channel = channel
        self._on_close = on_close
        channel.exec_command(f"exec sh -c {shlex.quote(script)}")

    def read_line(self, timeout_s: float) -> str:
        """Return the next line of its standard output; empty where none comes in time."""
        give_up_at = time.monotonic() + timeout_s
        line = b""
        while not line.endswith(b"\n") and time.monotonic() < give_up_at:
            self._channel.settimeout(max(0.05, give_up_at - time.monotonic()))
            try:
                more = self._channel.recv(1)
            except TimeoutError:
                break
            if not more:
                break
            line += more
        return line.decode(errors="replace").strip()

    def send(self, data: bytes) -> None:
        """Give it something to read."""
        from paramiko import SSHException

        try:
            self._channel.settimeout(5.0)
            if self._channel.closed or not self._channel.send(data):
                raise ConnectionResetError(errno.ECONNRESET, "the command has ended")
        except (SSHException, EOFError) as error:
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from None

    def close(self) -> None:
        """End it: what it reads is over."""
        from paramiko import SSHException

        with contextlib.suppress(SSHException, OSError, EOFError):
            self._channel.close()
        on_close, self._on_close = self._on_close, lambda: None
        on_close()
