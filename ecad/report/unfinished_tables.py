"""The front of a search that is not finished: as the search sees it, on its own prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from ecad.report import row_table


@dataclass(frozen=True)
class FrontPoint:
    """A schedule on the front. `cost` is relative to recomputing everything, `quality` on the search's prompts."""

    generation: int
    index: int  # in its generation, from 0
    cost: float
    quality: float
    macs: int
    latency_s: float | None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "speedup": 1.0 / self.cost}


_WARNING = (
    "the front so far, as the search sees it: the best of many, on the prompts that it searches on, so the numbers "
    "promise too much"
)


def unfinished_table(points: Sequence[FrontPoint], cost: str, quality: str) -> Table:
    """One row per schedule; `cost` and `quality` are what the search minimises and maximises."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in _headings(cost, quality):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in points:
        table.add_row(*_cells(point))
    return table


def unfinished_text(state: str) -> str:
    """What stands above the table."""
    return f"{state}\n{_WARNING}"


def unfinished_markdown(state: str, points: Sequence[FrontPoint], cost: str, quality: str) -> str:
    """The same as Markdown."""
    headings = _headings(cost, quality)
    cells = [_cells(point) for point in points]
    table = row_table.markdown_lines(headings, cells, [True] * len(headings))
    return "\n".join([state, "", f"{_WARNING[0].upper()}{_WARNING[1:]}.", "", *table]) + "\n"


def _headings(cost: str, quality: str) -> list[str]:
    return ["generation", "candidate", f"cheaper ({cost})", "MACs", quality]


def _cells(point: FrontPoint) -> list[str]:
    return [
        str(point.generation),
        str(point.index + 1),
        f"{1.0 / point.cost:.2f}x",
        row_table.amount(point.macs),
        f"{point.quality:.3f}",
    ]
