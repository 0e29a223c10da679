"""The one place that reaches below paramiko's public calls.

What paramiko has no call for: channels to a Unix socket (`direct-streamlocal@openssh.com`,
OpenSSH's PROTOCOL 2.4), a question that any server answers (its keepalive asks for no answer), a
channel's buffer, and the order in which algorithms are preferred.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from paramiko import ChannelException, Message, SSHException, Transport
from paramiko.channel import Channel

from launcher.ssh.buffer import PiecewisePipe
from launcher.ssh.stream import WINDOW_BYTES
from launcher.ssh.wire import Wire

_PACKET_BYTES = 128 * 1024  # OpenSSH takes and sends packets of up to 256 KiB
# After so many bytes keys are made anew, as OpenSSH does for AES (2**32 blocks of 16 bytes);
# paramiko's own 512 MB stalls every large transfer.
_REKEY_BYTES = 2**36
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")
_STREAM_LOCAL = "direct-streamlocal@openssh.com"
_GLOBAL_REQUEST = bytes([80])

# Its records carry tracebacks, and without a handler Python prints them.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class HostTransport(Transport):
    """A client's transport over a `Wire`."""

    def __init__(self, wire: Wire, host_key_types: Sequence[str]) -> None:
        super().__init__(
            wire,  # type: ignore[arg-type]  # any object with a socket's five calls will do
            default_window_size=WINDOW_BYTES,
            default_max_packet_size=_PACKET_BYTES,
        )
        self._wire = wire
        # An unanswered global request at a time: answers carry no name.
        self._asking = threading.Lock()
        self._asked_for_life = False
        self._opening = threading.local()
        self._refusals: dict[int | None, ChannelException] = {}
        self.packetizer.REKEY_BYTES = _REKEY_BYTES
        self.banner_timeout = self.handshake_timeout = 15
        options = self.get_security_options()
        options.ciphers = _preferred(_CIPHERS, options.ciphers)
        options.key_types = _preferred(host_key_types, options.key_types)

    def keep_alive(self, unreachable_s: float) -> None:
        """From now on notice a host that is gone without a word, before it is to be given up."""
        self._wire.watch(self._ask_for_life, unreachable_s)

    @property
    def silent_s(self) -> float:
        """How long nothing has come; of a host that is there some seconds at most."""
        return self._wire.silent_s

    def open_stream_local(self, path: str, timeout_s: float) -> Channel:
        """Return a channel to the Unix socket at `path` on the host.

        Raises:
            paramiko.SSHException: the host has not opened it.
        """
        self._opening.path = path
        try:
            return self.open_channel(_STREAM_LOCAL, timeout=timeout_s)
        finally:
            self._opening.path = None

    def open_channel(self, *args: Any, **kwargs: Any) -> Channel:
        """Return a new channel. Raises ChannelException with the refusal of this very one.

        paramiko keeps one error for all channels: what opens at once would see another's.
        """
        self._opening.channel_id = None
        try:
            return super().open_channel(*args, **kwargs)
        except SSHException:
            refusal = self._refusals.pop(self._opening.channel_id, None)
            if refusal is None:
                raise
            raise refusal from None

    def _next_channel(self) -> int:
        self._opening.channel_id = super()._next_channel()  # type: ignore[misc]
        return int(self._opening.channel_id)

    def _parse_channel_open_success(self, m: Message) -> None:
        channel = self._channels.get(m.get_int())  # type: ignore[attr-defined]
        if channel is not None:  # nothing has come through it yet
            channel.in_buffer = PiecewisePipe()
        m.rewind()
        super()._parse_channel_open_success(m)  # type: ignore[misc]

    def _parse_channel_open_failure(self, m: Message) -> None:
        channel_id = m.get_int()
        self._refusals[channel_id] = ChannelException(m.get_int(), m.get_text())
        m.rewind()
        super()._parse_channel_open_failure(m)  # type: ignore[misc]

    def _send_user_message(self, data: Message) -> None:
        path = getattr(self._opening, "path", None)
        if path is not None:
            self._opening.path = None
            data.add_string(path)
            data.add_string("")  # reserved, as is the number
            data.add_int(0)
        super()._send_user_message(data)  # type: ignore[misc]

    def global_request(
        self, kind: str, data: Iterable[Any] | None = None, wait: bool = True
    ) -> Message | None:
        """Send a request about the whole connection, when no other waits for its answer."""
        if not wait:
            return super().global_request(kind, data, wait)
        while not self._asking.acquire(timeout=1):
            if not self.is_active():
                return None
        try:
            return super().global_request(kind, data, wait)
        finally:
            self._asking.release()

    def _ask_for_life(self) -> None:
        """Send a request that every server answers, if only with a refusal.

        Called in the transport's own thread, which must not wait. Where a key exchange or another
        request is under way, the answer to that is as good.
        """
        if not self.clear_to_send.is_set() or not self._asking.acquire(blocking=False):
            return
        message = Message()
        message.add_byte(_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self._asked_for_life = True
        self._send_message(message)  # type: ignore[attr-defined]

    def _parse_request_success(self, m: Message) -> None:
        if not self._is_sign_of_life():
            super()._parse_request_success(m)  # type: ignore[misc]

    def _parse_request_failure(self, m: Message) -> None:
        if not self._is_sign_of_life():
            super()._parse_request_failure(m)  # type: ignore[misc]

    def _is_sign_of_life(self) -> bool:
        """Whether the answer that came is one to our own question."""
        if not self._asked_for_life:
            return False
        self._asked_for_life = False
        self._asking.release()
        return True


def _preferred(first: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the names that are known, those in `first` before the others."""
    return (*(n for n in first if n in known), *(n for n in known if n not in first))
