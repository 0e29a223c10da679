"""Transfers as a person follows them: bars on a terminal, now and then a line elsewhere."""

import threading
import time
from collections.abc import Callable, Sequence

from launcher.size import shown
from launcher.transfer import Progress

_LINE_EVERY_S = 10.0
_WORTH_A_LINE_S = 1.0
_REDRAW_EVERY_S = 0.1
_BAR = 24


class Transfers:
    """Shows what is under way.

    show: keeps lines at the bottom of the terminal; None where there is no terminal.
    say: shows a line.
    """

    def __init__(
        self, show: Callable[[Sequence[str]], None] | None, say: Callable[[str], None]
    ) -> None:
        self._show = show
        self._say = say
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], Progress] = {}
        self._began_at: dict[tuple[str, str], float] = {}
        self._said_at: dict[tuple[str, str], float] = {}
        self._drawn_at = 0.0

    def report(self, progress: Progress) -> None:
        """Take in how far a transfer has come; may be called from any thread, and often."""
        key = (progress.host, progress.what)
        now = time.monotonic()
        with self._lock:
            began_at = self._began_at.setdefault(key, now)
            if progress.is_done:
                self._under_way.pop(key, None)
                del self._began_at[key]
                if now > began_at + _WORTH_A_LINE_S:
                    self._say(_summary(progress, now - began_at))
            else:
                self._under_way[key] = progress
            if self._show is not None:
                self._draw(progress, now)
            elif not progress.is_done and now > self._said_at.setdefault(key, now) + _LINE_EVERY_S:
                self._said_at[key] = now
                self._say(line(progress))

    def _draw(self, progress: Progress, now: float) -> None:
        if progress.is_done or now >= self._drawn_at + _REDRAW_EVERY_S:
            self._drawn_at = now
            assert self._show is not None
            self._show([line(each) for each in sorted(self._under_way.values())])


def line(progress: Progress) -> str:
    """Return one transfer as a line: `gpu1  image x:1  [====    ]  52 %  1.0 of 1.9 GB`."""
    done, total = progress.done_bytes, progress.total_bytes
    parts = [progress.host, progress.what]
    if total:
        share = min(1.0, done / total)
        bar = ("=" * round(share * _BAR)).ljust(_BAR)
        parts += [f"[{bar}]", f"{share:4.0%}", f"{shown(done)} of {shown(total)}"]
    elif done:
        parts.append(shown(done))
    return "  ".join([*parts, progress.detail]).rstrip()


def _summary(progress: Progress, seconds: float) -> str:
    parts = [shown(progress.done_bytes), progress.detail, f"{seconds:.1f} s"]
    return f"{progress.host}: {progress.what}: {', '.join(part for part in parts if part)}"
