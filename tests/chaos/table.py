"""The matrix as it was run, as a table in Markdown."""

import json
import platform
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

from tests.chaos.cells import Cell, Fault, Kind, When, Where, cells, expected, senseless
from tests.chaos.trainers import FAKE


class Row(NamedTuple):
    """One cell that was run.

    seen: the outcome and exit code; empty where the run did not come so far.
    problem: what was not as expected, in one line.
    """

    cell: Cell
    trainer: str
    seen: str
    recovered_s: float | None
    ended_s: float | None
    problem: str

    def as_text(self) -> str:
        """Return it as text that `parse` reads, for another process."""
        return json.dumps(self)

    @classmethod
    def parse(cls, text: str) -> "Row":
        """Return the row that a text is of."""
        (kind, where, fault, when, role), *rest = json.loads(text)
        return cls(Cell(Kind(kind), Where(where), Fault(fault), When(when), role), *rest)


def written(rows: Iterable[Row], skipped: Iterable[Cell]) -> str:
    """Return the table of what was run, and the list of what makes no sense."""
    places, order = list(Where), {cell: number for number, cell in enumerate(cells())}
    rows = sorted(
        rows,
        key=lambda row: (row.trainer != FAKE.name, places.index(row.cell.where), order[row.cell]),
    )
    bad = sum(bool(row.problem) for row in rows)
    lines = [
        f"{time.strftime('%Y-%m-%d')}: {len(rows)} cells, {len(rows) - bad} as expected. "
        f"{_versions()}",
        "",
        "| strategy | where | fault | of | when | expected | seen | again after s | end after s |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_row, rows),
    ]
    reasons: dict[str, list[Cell]] = {}
    for cell in skipped:
        reasons.setdefault(senseless(cell), []).append(cell)
    if reasons:
        lines += ["", "Cells that make no sense:", ""]
        lines += [_skipped(reason, left_out) for reason, left_out in reasons.items()]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> str:
    cell = row.cell
    kind = cell.kind if row.trainer == FAKE.name else f"{cell.kind} (TensorFlow)"
    wanted = expected(cell)
    again = _short(wanted.again, cell)
    seen = "as expected" if not row.problem else f"**{row.seen} {row.problem}**"
    words = (
        kind, cell.where, cell.fault, cell.role, cell.when,
        f"{wanted.outcome} ({wanted.code}){again}", seen,
        _seconds(row.recovered_s), _seconds(row.ended_s),
    )  # fmt: skip
    return f"| {' | '.join(words)} |"


def _short(again: frozenset[str], cell: Cell) -> str:
    if not again:
        return ""
    if len(again) == 1:
        return f", {next(iter(again))} again"
    return ", all again" if again >= set(cell.members) else f", {', '.join(sorted(again))} again"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _skipped(reason: str, cells: list[Cell]) -> str:
    named: dict[str, list[Cell]] = {}
    for cell in cells:
        named.setdefault(cell.fault, []).append(cell)
    faults = "; ".join(f"{fault} ({_where(of)})" for fault, of in named.items())
    return f"- {reason}: {faults}; {len(cells)} cells"


def _where(cells: list[Cell]) -> str:
    """Return what some cells of one fault have in common: places, times, and the role if one."""
    words = [*dict.fromkeys(cell.where for cell in cells), *dict.fromkeys(c.when for c in cells)]
    roles = {cell.role for cell in cells}
    of = f"of {roles.pop()}: " if roles == {"evaluator"} else ""
    return of + ", ".join(words)


def _versions() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"Python {python}, Linux {platform.release().split('-')[0]}, {_docker()}."


def _docker() -> str:
    import subprocess

    try:
        done = subprocess.run(["dockerd", "--version"], capture_output=True, text=True)
    except OSError:
        return "no Docker"
    return done.stdout.split(",")[0].replace(" version", "")
