"""Labels in a plot that lie neither on each other nor on marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import textalloc
from matplotlib.axes import Axes

_SIZE = 7.0


@dataclass(frozen=True)
class Label:
    text: str
    x: float
    y: float
    colour: str


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    marks: tuple[Sequence[float], Sequence[float]],
    lines: Sequence[tuple[Sequence[float], Sequence[float]]] = (),
) -> None:
    """Write the labels near their points, with a thin line to the point where that is some way off.

    They keep away from each other, from `marks` (x, y) and from `lines`; the limits of the axes must be final. A label
    for which there is no room is left out.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = [item for item in labels if left <= item.x <= right and bottom <= item.y <= top]
    if not inside:
        return
    colours = [item.colour for item in inside]
    lines = [
        line for line in lines if len(line[0]) > 1
    ]  # a line of one point is none: textalloc stumbles over it
    avoided: dict[str, Any] = {}
    if lines:
        avoided = {"x_lines": [list(x) for x, _ in lines], "y_lines": [list(y) for _, y in lines]}
    textalloc.allocate(
        axes,
        [item.x for item in inside],
        [item.y for item in inside],
        [item.text for item in inside],
        x_scatter=list(marks[0]),
        y_scatter=list(marks[1]),
        **avoided,
        textsize=_SIZE,
        textcolor=colours,
        linecolor=colours,
        linewidth=0.5,
        margin=0.004,
        min_distance=0.012,
        max_distance=0.25,
        draw_all=False,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
    )
