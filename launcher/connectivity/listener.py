"""The program that listens on a host's planned ports while a check lasts; runs there, not here.

It is given to a Python there as text, needs nothing but the standard library, and ends with its
input: so it is gone with whoever started it, however that ended.
"""

import errno
import os
import select
import socket
import struct
import sys
import time

LIFE_S = 60.0
_AT_ONCE = struct.pack("ii", 1, 0)


def bound(port: int) -> "socket.socket | str":
    """Return a listening socket, as TensorFlow's servers have it; or why there is none."""
    why = "no network"
    for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104
        try:
            made = socket.socket(family)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind((host, port))
            made.listen(128)
            made.setblocking(False)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            if error.errno == errno.EADDRINUSE:
                break
        else:
            return made
    return why


def serve(servers: "list[socket.socket]", token: bytes) -> None:
    """Tell everyone who connects the token, until the input ends or it has lasted too long."""
    end = time.monotonic() + LIFE_S
    peers = []  # type: list[socket.socket]
    while time.monotonic() < end:
        watched = [0, *servers, *peers]  # type: list[int | socket.socket]
        ready = select.select(watched, [], [], end - time.monotonic())[0]
        if 0 in ready and not os.read(0, 64):
            return
        for one in ready:
            try:
                if one in servers:
                    peers.append(one.accept()[0])
                    # Whoever comes next on this port shall not find it waiting out its time.
                    peers[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    peers[-1].send(token)
                elif one in peers:
                    peers.remove(one)
                    one.close()
            except OSError:
                pass


def main() -> None:
    """Listen: the token, then the ports. Tells for each port whether it does."""
    token, wanted = sys.argv[1], sys.argv[2:]
    made = [(port, bound(int(port))) for port in wanted]
    told = [f"{port} {one if isinstance(one, str) else 'listens'}" for port, one in made]
    os.write(1, "\n".join([*told, "ready", ""]).encode())
    serve([one for _, one in made if not isinstance(one, str)], token.encode())


if __name__ == "__main__":
    main()
