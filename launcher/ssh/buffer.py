"""What arrives in a channel until it is read: in the pieces that came, joined once.

paramiko's own buffer is an array of bytes that each piece is copied into, out of and off the front
of, which costs as much as decrypting it.
"""

from collections import deque
from typing import TYPE_CHECKING

from paramiko.buffered_pipe import BufferedPipe

if TYPE_CHECKING:
    BytesPipe = BufferedPipe[bytes]
else:
    BytesPipe = BufferedPipe  # generic in its stubs alone


class PiecewisePipe(BytesPipe):
    """paramiko's pipe, with another store of bytes below it."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = _Pieces()

    def _buffer_frombytes(self, data: bytes) -> None:
        self._buffer.append(data)

    def _buffer_tobytes(self, limit: int | None = None) -> bytes:
        return self._buffer.first(len(self._buffer) if limit is None else limit)


class _Pieces:
    """Bytes in the order in which they came, as far as `BufferedPipe` uses an array of them."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._size_bytes

    def append(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._size_bytes += len(piece)

    def first(self, size_bytes: int) -> bytes:
        """Return that many bytes from the front; they stay."""
        found, found_bytes = [], 0
        for piece in self._pieces:
            if found_bytes >= size_bytes:
                break
            found.append(piece)
            found_bytes += len(piece)
        return b"".join(found)[:size_bytes]

    def __delitem__(self, front: slice) -> None:
        left_bytes = len(self) if front.stop is None else front.stop
        self._size_bytes -= left_bytes
        while left_bytes:
            piece = self._pieces.popleft()
            if len(piece) > left_bytes:
                self._pieces.appendleft(piece[left_bytes:])
            left_bytes -= min(left_bytes, len(piece))
