"""How far something that takes long has come: an image, data or results on their way."""

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far one host's transfer has come.

    what: what is under way, as shown: `image registry.lab/mnist:v1`, `results of worker:0`.
    total_bytes: None while nobody knows.
    detail: more to show behind the bytes: `layer 2 of 5`.
    """

    host: str
    what: str
    done_bytes: int
    total_bytes: int | None
    detail: str = ""
    is_done: bool = False


OnProgress = Callable[[Progress], None]
