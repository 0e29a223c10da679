"""One folder of this machine that several hosts of the testbed see, as they would a network store.

A host has its own mounts and sees nothing of this machine; so the folder is taken as a detached
mount here (open_tree) and put into each host's tree there (move_mount): see mount(2) of Linux 5.2.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed import Host, TestbedError

_OPEN_TREE = 428  # the number of the call on every architecture
_AT_FDCWD = -100
_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_PUT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(sys.argv[2], exist_ok=True)
if libc.syscall(429, int(sys.argv[1]), b"", -100, sys.argv[2].encode(), 4):
    sys.exit(os.strerror(ctypes.get_errno()))
"""


@contextmanager
def shared(folder: Path, hosts: Iterable[Host], at: str) -> Iterator[None]:
    """Have `folder` at the path `at` of every host, until the block ends."""
    there = []
    try:
        for host in hosts:
            _mount(folder, host, at)
            there.append(host)
        yield
    finally:
        for host in there:
            host.exec("umount", "--lazy", at, check=False)
            host.exec("rmdir", at, check=False)


def _mount(folder: Path, host: Host, at: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    tree = libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(folder), _CLONE | _CLOEXEC)
    if tree < 0:
        raise TestbedError(f"{folder} cannot be shared: {os.strerror(ctypes.get_errno())}")
    try:
        words = host.machine.enter("python3", "-c", _PUT, str(tree), at)
        done = subprocess.run(words, pass_fds=(tree,), text=True, capture_output=True, timeout=60)
    finally:
        os.close(tree)
    if done.returncode:
        raise TestbedError(f"{folder} cannot be shared with {host.name}: {done.stderr}")
