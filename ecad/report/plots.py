"""Figures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ecad.measuring.rows import Kind, Measure, Row
from ecad.report.page.panels import calibration_panels
from ecad.report.search_report import SearchReport
from ecad.schedule import Calibration

_STYLES: dict[Kind, dict[str, Any]] = {
    Kind.FRONT: {"color": "#1b7f4d", "marker": "o", "label": "ecad front"},
    Kind.HEURISTIC: {"color": "#d98c00", "marker": "s", "label": "heuristics"},
    Kind.FEWER_STEPS: {"color": "#2f6fb0", "marker": "^", "label": "fewer steps, uncached"},
}


def front_figure(report: SearchReport, search_points: Sequence[tuple[float, float]]) -> Figure:
    """Quality against speedup, in MACs and in measured latency, and the hypervolume per generation.

    `search_points` are (relative cost, quality) of all schedules the search evaluated, on its own prompts.
    Error bars are 95 % intervals on the held-out prompts.
    """
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    macs, latency, progress = figure.subplots(1, 3, width_ratios=(4, 4, 2.6))
    _front_axes(macs, report, "macs")
    if search_points and report.search.get("cost", "macs") == "macs":
        speedups = [1.0 / cost for cost, _ in search_points]
        qualities = [quality for _, quality in search_points]
        macs.scatter(speedups, qualities, s=6, color="0.75", zorder=0, label="evaluated (search prompts)")
    macs.set_xlabel("speedup in MACs")
    _front_axes(latency, report, "latency")
    latency.set_xlabel("speedup in measured latency")
    lowest = min(_quality(row, report)[1] for row in report.rows if row.speedup("macs") < 8)
    highest = max(_quality(row, report)[2] for row in report.rows)
    for axes in (macs, latency):
        axes.set_ylim(lowest - 0.02 * abs(highest), highest + 0.02 * abs(highest))
    macs.legend(loc="lower left", fontsize=8)
    volumes = report.search["hypervolume"]
    progress.plot(range(1, len(volumes) + 1), volumes, color="0.2")
    progress.set_xlabel("generation")
    progress.set_ylabel("hypervolume (search prompts)")
    progress.grid(alpha=0.3)
    figure.suptitle(
        f"{report.model}, {report.steps} steps: {report.quality} on {report.heldout['images']} "
        f"held-out images ({report.environment['hardware']})",
        fontsize=11,
    )
    return figure


def calibration_figure(calibration: Calibration) -> Figure:
    """How far each output is from itself at every other step: of the whole transformer, and of each component as the
    mean over the blocks that have it."""
    panels = calibration_panels(calibration)
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.8, 3.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    scale = ScalarMappable(Normalize(0.0, 1.0), "magma")  # beyond 1 an output is no better than none at all
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=False):
        axes.imshow(values, norm=scale.norm, cmap=scale.cmap, origin="upper")
        axes.set_title(" ".join(title.split()), fontsize=9)
        axes.set_xlabel("used at step", fontsize=8)
        axes.set_ylabel("computed at step", fontsize=8)
        axes.tick_params(labelsize=7)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(scale, ax=grid, label="relative distance (from 1 on: the brightest)", shrink=0.8)
    source = calibration.source
    figure.suptitle(
        f"{source.get('model', '')}, {calibration.shape.steps} steps, {source.get('images', '?')} images",
        fontsize=11,
    )
    return figure


def _quality(row: Row, report: SearchReport) -> tuple[float, float, float]:
    """Mean, low and high end of the interval."""
    numbers = row.metrics[report.quality]
    return numbers.mean, *(numbers.interval or (numbers.mean, numbers.mean))


def _front_axes(axes: Axes, report: SearchReport, measure: Measure) -> None:
    for kind, style in _STYLES.items():
        rows = sorted(report.of_kind(kind), key=lambda row: row.speedup(measure))
        numbers = [_quality(row, report) for row in rows]
        axes.errorbar(
            [row.speedup(measure) for row in rows],
            [mean for mean, _, _ in numbers],
            yerr=[[mean - low for mean, low, _ in numbers], [high - mean for mean, _, high in numbers]],
            linestyle="-" if kind is Kind.FRONT else "none",
            linewidth=1.2,
            markersize=5,
            elinewidth=0.7,
            capsize=2,
            **style,
        )
        if kind is not Kind.FRONT:
            best = -float("inf")  # from the fastest row on: only those that no faster one equals have a name
            for row, (mean, _, _) in zip(rows[::-1], numbers[::-1], strict=True):
                if mean <= best:
                    continue
                best = mean
                axes.annotate(
                    row.name if len(row.name) <= 12 else f"{row.name[:10]}...",
                    (row.speedup(measure), mean),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=6.5,
                    color=style["color"],
                    annotation_clip=True,
                )
    [uncached] = report.of_kind(Kind.UNCACHED)
    axes.axhline(_quality(uncached, report)[0], color="0.4", linewidth=0.8, linestyle=":", label="uncached")
    axes.set_xscale("log")
    axes.set_xticks([1, 1.5, 2, 3, 4, 5, 6, 8], minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_xlim(0.95, 9)
    axes.set_ylabel(report.quality)
    axes.grid(alpha=0.3)
