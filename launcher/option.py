"""One option of the command line, as a value: platforms have options of their own."""

from typing import NamedTuple


class Option(NamedTuple):
    """One option of a run; `value` is what its value is called, None for a switch.

    letter: what stands for it behind a single dash.
    """

    name: str
    value: str | None
    help: str
    choices: tuple[str, ...] | None = None
    letter: str = ""
