"""Which hosts have lately been found to reach each other: files in this user's cache.

A file's name stands for the hosts' addresses and those ports that the cluster.yaml fixes; ports
that are looked up anew for each run are not part of it. A file's age says when it was.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

VALID_S = 24 * 3600.0


class Passes:
    """What is remembered of the hosts of one plan."""

    def __init__(
        self, addresses: Iterable[str], ports: Iterable[str], environ: Mapping[str, str]
    ) -> None:
        """`ports`: those of the file, as HOST:PORT."""
        parts = (*sorted(set(addresses)), "", *sorted(set(ports)))
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        cache = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home(), ".cache")
        self._folder = Path(cache, "launch", "connected")
        self._path = self._folder / name

    def is_fresh(self) -> bool:
        """Whether these hosts passed within the last day."""
        try:
            age_s = time.time() - self._path.stat().st_mtime
        except OSError:
            return False
        return 0 <= age_s < VALID_S

    def note(self) -> None:
        """Remember that they have passed now, and forget what is old; a full disk is no error."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch()
            os.utime(self._path)
            for other in self._folder.iterdir():
                if time.time() - other.stat().st_mtime > VALID_S:
                    other.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remember nothing of these hosts."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
