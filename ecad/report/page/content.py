"""What a report page contains, as plain data: it can be made and tested without a browser or a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ecad.report.results import MetricColumn
from ecad.schedule import Calibration, Schedule

State = Literal["finished", "running", "unfinished"]


@dataclass(frozen=True)
class Measure:
    """A way to say how much faster something is: "macs", "latency", or "paper:" and a GPU."""

    key: str
    label: str  # of the choice
    axis: str  # of the plot


@dataclass(frozen=True)
class Group:
    """Marks of one kind. Those of rivals can be switched off. `symbol` is the mark's shape as a character."""

    key: str
    label: str
    shape: str  # as Vega calls it
    symbol: str
    is_rival: bool = True


FRONT = Group("front", "ecad front", "circle", "●", is_rival=False)
GROUPS = {
    group.key: group
    for group in (
        FRONT,
        Group("schedules", "schedules", "circle", "●", is_rival=False),
        Group("uncached", "uncached", "stroke", "━", is_rival=False),
        Group("heuristics", "heuristics (FORA, T-GATE, ...)", "square", "■"),
        Group("masks", "masks of steps", "cross", "✚"),
        Group("smooth", "SmoothCache's rule", "diamond", "◆"),
        Group("fewer", "fewer steps", "triangle-up", "▲"),
        Group("uneven", "fewer steps, uneven", "triangle-down", "▼"),
        Group("others", "other models", "triangle-right", "▶"),
    )
}


@dataclass(frozen=True)
class Mark:
    """One way to make the images.

    `speedups` are by measure, how many times less than uncached; `qualities` by metric: mean, low and high end of the
    95 % interval (the mean itself where there is none). `cells` are its row of the table. `use` is the line of Python
    that uses it, or a sentence where there is none. `pictures` are the contents of small image files by prompt.
    """

    id: str
    name: str
    group: Group
    speedups: Mapping[str, float]
    qualities: Mapping[str, tuple[float, float, float]]
    cells: Sequence[str]
    use: str
    schedule: Schedule | None = None
    file_name: str = ""
    pictures: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Content:
    """`cloud` has (speedup, quality) of every schedule that a search evaluated, in its own cost and on its own prompts;
    `cloud_measure` says which measure that is, "" for none. `samples` are the prompts of the pictures. `facts` are
    pairs under a heading: what the search cost, settings, versions.
    """

    title: str
    state: State
    status: str  # a sentence, for people
    summary: Sequence[str]
    measures: Sequence[Measure]
    metrics: Sequence[MetricColumn]
    headings: Sequence[str]  # of the marks' cells
    marks: Sequence[Mark]
    samples: Sequence[str] = ()
    cloud: Sequence[tuple[float, float]] = ()
    cloud_measure: str = ""
    hypervolume: Sequence[float] = ()
    comparisons: Table | None = None
    calibration: Calibration | None = None
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[Group]:
        """Those that have marks, in the order of `GROUPS`."""
        present = {mark.group.key for mark in self.marks}
        return [group for key, group in GROUPS.items() if key in present]

    def first(self) -> Mark | None:
        """What is shown before anything is chosen: of the front the one in the middle."""
        ours = [mark for mark in self.marks if mark.group.key in ("front", "schedules")]
        return ours[len(ours) // 2] if ours else next(iter(self.marks), None)


def nondominated_marks(marks: Sequence[Mark], measure: str, metric: MetricColumn) -> list[Mark]:
    """Of these marks those that no other one is both faster and better than, the slowest first."""
    sign = 1.0 if metric.higher_is_better else -1.0
    known = [mark for mark in marks if measure in mark.speedups and metric.name in mark.qualities]
    fastest_first = sorted(
        known, key=lambda mark: (-mark.speedups[measure], -sign * mark.qualities[metric.name][0])
    )
    kept: list[Mark] = []
    best = float("-inf")
    for mark in fastest_first:
        quality = sign * mark.qualities[metric.name][0]
        if quality > best:
            kept.append(mark)
            best = quality
    return kept[::-1]
