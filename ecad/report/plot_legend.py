"""The legend of a front's figure, and the colours and marks of runs that it explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.lines import Line2D

from ecad.measuring.rows import Kind
from ecad.report.plot_axes import YAxis
from ecad.report.plot_data import Plotted
from ecad.report.plot_groups import FRONT, GROUPS, SCHEDULE, group_of

GRAY = "0.45"
# Of several runs; Okabe and Ito's colours again, and a mark for each.
_RUN_STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)


def run_styles(sources: Sequence[Plotted]) -> list[tuple[str, str]]:
    """Colour and mark of each run."""
    if len(sources) == 1:
        return [(FRONT.colour, FRONT.marker)]
    return [_RUN_STYLES[number % len(_RUN_STYLES)] for number in range(len(sources))]


def rival_colour(sources: Sequence[Plotted], colour: str) -> str:
    """Of the line through the best rivals; of several runs, the run's own."""
    return GRAY if len(sources) == 1 else colour


def legend_handles(sources: Sequence[Plotted], value: YAxis, has_cloud: bool) -> list[Line2D]:
    """The legend: kinds of rows of one run, or the runs."""

    def handle(colour: str, marker: str, label: str, line: Literal["-", "none"] = "none") -> Line2D:
        return Line2D(
            [], [], color=colour, marker=marker, linestyle=line, markersize=6, linewidth=1.2, label=label
        )

    if len(sources) == 1:
        [source] = sources
        present = {group_of(row).label for row in source.rows if row.kind is not Kind.UNCACHED}
        handles = [
            handle(group.colour, group.marker, group.label, "-" if group is FRONT else "none")
            for group in GROUPS
            if group.label in present
        ]
        has_rivals = bool(present - {FRONT.label, SCHEDULE.label})
    else:
        handles = [
            handle(colour, marker, source.label + (" (so far)" if source.unfinished else ""), "-")
            for source, (colour, marker) in zip(sources, run_styles(sources), strict=True)
        ]
        has_rivals = any(
            row.kind not in (Kind.FRONT, Kind.SCHEDULE, Kind.UNCACHED)
            for source in sources
            for row in source.rows
        )
    if has_rivals:
        handles.append(Line2D([], [], color=GRAY, linestyle=(0, (4, 3)), linewidth=0.9, label="best rivals"))
    if value.is_difference or any(source.uncached for source in sources):
        handles.append(Line2D([], [], color="0.3", linestyle=":", linewidth=0.9, label="uncached"))
    if has_cloud:
        handles.append(handle("0.8", ".", "evaluated in the search (its own prompts)"))
    return handles
