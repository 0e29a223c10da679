"""A fake of a wall clock that is wrong: stands before a host's Docker socket and shifts its times.

    python3 clock_relay.py SOCKET REAL_SOCKET SECONDS

Programs in Go ask the kernel for the time without libc, so libfaketime does nothing to dockerd, and
all hosts of one machine share its clock. So what the engine says is shifted on its way out: every
timestamp (`2026-11-27T07:40:47.5Z`), and the seconds since 1970 that it lists containers and events
with; and back on the way in, where it is asked for what came `since` or `until` a time. Each shift
keeps the text as long as it was, so that no length or chunk changes. HTTP's own Date is left alone.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

_STAMP = re.compile(rb"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)(?=\.\d+Z|Z)")
_SECONDS = re.compile(rb'("(?:Created|time|timeNano)":)(\d{10})(?=\d{9}\b|\b)')
_ASKED = re.compile(rb"((?:since|until)=)(\d{10})(?=\D)")
_TAIL = re.compile(rb'[\w":.+-]{1,48}\Z')  # what may be the beginning of a time
_IDLE_S = 0.02
_BYTES = 1 << 16
_FORMAT = "%Y-%m-%dT%H:%M:%S"


def shifted_answer(data: bytes, seconds: int) -> bytes:
    """Return what an engine said with every time in it `seconds` later."""

    def later(found: re.Match[bytes]) -> bytes:
        at = datetime.strptime(found[1].decode(), _FORMAT) + timedelta(seconds=seconds)
        return at.strftime(_FORMAT).encode()

    return _SECONDS.sub(lambda f: f[1] + b"%d" % (int(f[2]) + seconds), _STAMP.sub(later, data))


def shifted_question(data: bytes, seconds: int) -> bytes:
    """Return what an engine is asked with every time in it `seconds` earlier."""
    return _ASKED.sub(lambda found: found[1] + b"%d" % (int(found[2]) - seconds), data)


def relay(source: socket.socket, target: socket.socket, shift: Callable[[bytes], bytes]) -> None:
    """Copy all of one direction, and then end it; times that came in parts are put together."""
    held = b""
    try:
        while True:
            source.settimeout(_IDLE_S if held else None)
            try:
                data = source.recv(_BYTES)
            except TimeoutError:
                target.sendall(shift(held))
                held = b""
                continue
            if not data:
                break
            data = held + data
            tail = _TAIL.search(data)
            held = tail[0] if tail else b""
            target.sendall(shift(data)[: len(data) - len(held)])
        target.sendall(shift(held))
    except OSError:
        pass
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def serve(client: socket.socket, real: str, seconds: int) -> None:
    """Connect a client with the engine until both have had enough."""
    with client, socket.socket(socket.AF_UNIX) as engine:
        try:
            engine.connect(real)
        except OSError:
            return
        asks = threading.Thread(
            target=relay, args=(client, engine, lambda d: shifted_question(d, seconds))
        )
        asks.start()
        relay(engine, client, lambda d: shifted_answer(d, seconds))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        asks.join()


def main(path: str, real: str, seconds: int) -> None:
    """Listen, as docker's group may, for as long as the program lives."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        shutil.chown(path, "root", "docker")
        os.chmod(path, 0o660)
        listener.listen(256)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, real, seconds), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
