"""Figures of fronts: one run with its rivals, or several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ecad.genetic.front import nondominated
from ecad.measuring.rows import Kind, Row
from ecad.report.plot_axes import XAxis, YAxis, x_axis, y_axis
from ecad.report.plot_data import Plotted
from ecad.report.plot_groups import group_of, short_name
from ecad.report.plot_labels import Label, place_labels
from ecad.report.plot_legend import GRAY, legend_handles, rival_colour, run_styles

_TICKS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50)


@dataclass(frozen=True)
class _Point:
    row: Row
    x: float
    y: float
    low: float
    high: float


def front_figure(sources: Sequence[Plotted], x: str | None = None, y: str | None = None) -> Figure:
    """Quality against cost. Without `x` one run has a panel for MACs, one for measured time, and its hypervolume.

    A front's line joins the schedules that no other one of it dominates in that panel's axes; the others are hollow.
    Of the rivals only those have a name and an interval that no other rival dominates: their own front, dashed. Points
    far below it are outside, and counted. ConfigError for axes that a source lacks.
    """
    value = y_axis(y, sources)
    choices = [x] if x is not None else _default_choices(sources)
    horizontals = [x_axis(choice, sources) for choice in choices]
    has_progress = x is None and len(sources) == 1 and len(sources[0].hypervolume) > 1
    widths = [5.2] * len(horizontals) + [2.6] * has_progress
    figure = Figure(figsize=(sum(widths) + 1.2, 5.4), layout="constrained")
    panels = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    names = []
    for axes, horizontal in zip(panels, horizontals, strict=False):
        names.append(_draw(axes, sources, horizontal, value))
    if has_progress:
        _draw_progress(panels[-1], sources[0])
    _draw_heading(figure, sources)
    has_cloud = len(sources) == 1 and any(_has_cloud(sources[0], each, value) for each in horizontals)
    handles = legend_handles(sources, value, has_cloud)
    columns = max(1, min(len(handles), int(sum(widths) / 2.4)))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )
    # Where the panels are is known once the figure was laid out; only then labels find their places.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, (labels, points, lines) in zip(panels, names, strict=False):
        place_labels(axes, labels, ([item.x for item in points], [item.y for item in points]), lines)
    return figure


def _default_choices(sources: Sequence[Plotted]) -> list[str]:
    """Both speedups; of unfinished searches what they minimise."""
    if not any(source.unfinished for source in sources):
        return ["speedup", "latency-speedup"]
    costs = {source.cost.partition(":")[0] for source in sources if source.unfinished}
    if costs == {"latency"}:
        return ["latency-speedup"]
    return ["paper"] if costs == {"paper"} and len(sources) == 1 else ["speedup"]


_Names = tuple[list[Label], list[_Point], list[tuple[list[float], list[float]]]]


def _draw(axes: Axes, sources: Sequence[Plotted], horizontal: XAxis, value: YAxis) -> _Names:
    """One panel; returns what is to be labelled, all that labels keep away from, and the lines among that."""
    labels: list[Label] = []
    drawn: list[_Point] = []
    lines: list[tuple[list[float], list[float]]] = []
    shown: list[_Point] = []  # what the limits are made for
    for source, (colour, marker) in zip(sources, run_styles(sources), strict=True):
        ours = _points(source, horizontal, value, lambda row: row.kind in (Kind.FRONT, Kind.SCHEDULE))
        rivals = _points(
            source,
            horizontal,
            value,
            lambda row: row.kind not in (Kind.FRONT, Kind.SCHEDULE, Kind.UNCACHED),
        )
        best_rivals = _front_of(rivals, horizontal, value)
        front = _front_of([item for item in ours if item.row.kind is Kind.FRONT], horizontal, value)
        shown += ours or best_rivals
        axes.plot(_x(front), _y(front), color=colour, linewidth=1.6, zorder=4)
        axes.plot(_x(best_rivals), _y(best_rivals), color=rival_colour(sources, colour), linewidth=0.9,
                  linestyle=(0, (4, 3)), zorder=2)  # fmt: skip
        lines += [(_x(front), _y(front)), (_x(best_rivals), _y(best_rivals))]
        for item in ours:
            on_front = item in front or item.row.kind is Kind.SCHEDULE
            group = group_of(item.row)
            _mark(
                axes,
                item,
                colour,
                marker if len(sources) > 1 else group.marker,
                filled=on_front,
                size=6,
                zorder=5,
            )
            _bar(axes, item, colour, 0.55 if on_front else 0.2)
            beside = horizontal.interval(item.row)
            if beside is not None:
                axes.plot(beside, [item.y, item.y], color=colour, linewidth=1.0, alpha=0.55, zorder=1.5)
        if len(sources) == 1:
            _draw_cloud(axes, source, horizontal, value)
            for item in rivals:
                group, is_best = group_of(item.row), item in best_rivals
                _mark(
                    axes,
                    item,
                    group.colour,
                    group.marker,
                    filled=is_best,
                    size=5.5 if is_best else 4,
                    zorder=3,
                )
                if is_best:
                    _bar(axes, item, group.colour, 0.4)
                    labels.append(Label(short_name(item.row), item.x, item.y, group.text_colour))
            labels[:0] = [
                Label(short_name(item.row), item.x, item.y, group_of(item.row).text_colour) for item in ours
            ]
        else:
            for item in best_rivals:
                _mark(axes, item, colour, marker, filled=False, size=3.5, zorder=3)
        drawn += [*ours, *(rivals if len(sources) == 1 else best_rivals)]
    _draw_uncached(axes, sources, value)
    _set_limits(axes, sources, shown, drawn, horizontal, value)
    axes.set_xlabel(horizontal.label)
    axes.set_ylabel(value.label)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return labels, drawn, lines


def _points(source: Plotted, horizontal: XAxis, value: YAxis, wanted: Callable[[Row], bool]) -> list[_Point]:
    points = []
    for row in source.rows:
        place, numbers = horizontal.value(row, source), value.value(row)
        if wanted(row) and place is not None and numbers is not None:
            points.append(_Point(row, place, *numbers))
    return points


def _front_of(points: Sequence[_Point], horizontal: XAxis, value: YAxis) -> list[_Point]:
    """Those that no other one dominates, the cheapest first."""
    members = nondominated(
        [-horizontal.gain(item.x) for item in points], [value.gain(item.y) for item in points]
    )
    return [points[index] for index in members]


def _x(points: Sequence[_Point]) -> list[float]:
    return [item.x for item in points]


def _y(points: Sequence[_Point]) -> list[float]:
    return [item.y for item in points]


def _mark(
    axes: Axes, item: _Point, colour: str, marker: str, *, filled: bool, size: float, zorder: float
) -> None:
    axes.plot(
        [item.x],
        [item.y],
        linestyle="none",
        marker=marker,
        markersize=size,
        color=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=0.9,
        alpha=1.0 if filled else 0.75,
        zorder=zorder,
    )


def _bar(axes: Axes, item: _Point, colour: str, alpha: float) -> None:
    if item.high > item.low:
        axes.plot(
            [item.x, item.x], [item.low, item.high], color=colour, linewidth=1.0, alpha=alpha, zorder=1.5
        )


def _has_cloud(source: Plotted, horizontal: XAxis, value: YAxis) -> bool:
    """Where the panel's axis is what the search minimised, and there are schedules that it evaluated."""
    own = {"macs": "MACs", "latency": "measured", "paper": "paper"}[source.cost.partition(":")[0]]
    is_own = horizontal.is_speedup and own in horizontal.label
    # A search knows its own metric only, and no differences.
    is_quality = not value.is_difference and value.label == source.metrics[0].name
    return bool(source.cloud) and is_own and is_quality


def _draw_cloud(axes: Axes, source: Plotted, horizontal: XAxis, value: YAxis) -> None:
    """All evaluated schedules."""
    if not _has_cloud(source, horizontal, value):
        return
    points = [(1.0 / cost, quality) for cost, quality in source.cloud if cost > 0]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=4, color="0.8", zorder=0.5, linewidths=0)


def _draw_uncached(axes: Axes, sources: Sequence[Plotted], value: YAxis) -> None:
    """A line at the quality of the untouched model; one where all have the same."""
    if value.is_difference:
        axes.axhline(0.0, color="0.3", linewidth=0.8, linestyle=":", zorder=1)
        return
    for source, (colour, _) in zip(sources, run_styles(sources), strict=True):
        numbers = None if source.uncached is None else value.value(source.uncached)
        if numbers is not None:
            axes.axhline(
                numbers[0],
                color="0.3" if len(sources) == 1 else colour,
                linewidth=0.8,
                linestyle=":",
                zorder=1,
            )


def _set_limits(
    axes: Axes,
    sources: Sequence[Plotted],
    shown: Sequence[_Point],
    drawn: Sequence[_Point],
    horizontal: XAxis,
    value: YAxis,
) -> None:
    """Round what is `shown`; how many of the `drawn` points are outside is said in a corner."""
    heights = [item.y for item in shown] or [item.y for item in drawn]
    uncached = [value.value(source.uncached) for source in sources if source.uncached is not None]
    heights += [0.0] if value.is_difference else [numbers[0] for numbers in uncached if numbers is not None]
    low, high = min(heights), max(heights)
    room = (high - low) or max(abs(high), 1.0) * 0.05
    low, high = low - 0.12 * room, high + 0.12 * room
    axes.set_ylim(low, high)
    places = [item.x for item in shown] or [item.x for item in drawn]
    if horizontal.is_speedup:
        right = max(max(places), 1.5) * 1.12
        left = min(0.96, min([item.x for item in drawn if item.x <= right], default=1.0) * 0.97)
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        ticks = [tick for tick in _TICKS if left <= tick <= right]
        if len(ticks) > 9:
            ticks = [tick for tick in ticks if tick not in (1.25, 2.5)]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}x"))
    else:
        left = 0.0
        right = (
            max([*places, *(horizontal.value(s.uncached, s) or 0.0 for s in sources if s.uncached)]) * 1.06
        )
        axes.set_xlim(left, right)
    outside = sum(not (left <= item.x <= right and low <= item.y <= high) for item in drawn)
    if outside:
        axes.text(
            0.0, 1.01, f"{outside} rivals outside" if outside > 1 else "1 rival outside",
            transform=axes.transAxes, fontsize=7, color=GRAY, va="bottom",
        )  # fmt: skip


def _draw_progress(axes: Axes, source: Plotted) -> None:
    volumes = source.hypervolume
    axes.plot(range(1, len(volumes) + 1), volumes, color="0.2", marker=".", markersize=4)
    axes.set_xlabel("generation")
    axes.set_ylabel("hypervolume (search prompts)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_heading(figure: Figure, sources: Sequence[Plotted]) -> None:
    what = list(dict.fromkeys(f"{source.model}, {source.steps} steps" for source in sources))
    lines = [" and ".join(what)]
    if len(sources) == 1:
        lines.append(sources[0].about)
    for source in sources:
        if source.unfinished:
            lines.append(source.unfinished if len(sources) == 1 else f"{source.label}: {source.unfinished}")
    figure.suptitle("\n".join(lines), fontsize=10)
