"""Folders beside another, in which what shall take its place comes together.

Their names begin with `.NAME.`, as those do to which files.results renames what is replaced.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher.files.results import local


@contextlib.contextmanager
def staging(home: Path) -> Iterator[Path]:
    """Give a path for a folder that may be renamed to `home`; what is there afterwards goes.

    No other has it, and whatever else is made beside it goes too.

    Raises:
        HostError: nothing can be written there.
    """
    with local(home):
        room = tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent)
    try:
        yield Path(room, home.name)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def clear(home: Path) -> None:
    """Remove what a killed launcher has left beside a folder.

    Where it had put the folder aside, and nothing in its place yet, that comes back.
    """
    old = home.with_name(f".{home.name}.old")
    with contextlib.suppress(OSError):
        if old.is_dir() and not home.exists():
            old.rename(home)
    for left in tuple(home.parent.glob(f".{home.name}.*")):
        shutil.rmtree(left, ignore_errors=True)
