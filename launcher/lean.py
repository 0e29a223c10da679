"""Libraries imported without optional parts that a run does not use, and that cost its start."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Make these modules missing to whatever is imported meanwhile.

    Only for libraries that go on without them; those that are imported already stay as they are.
    Enter it in one thread, before others import.
    """
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own sign
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
