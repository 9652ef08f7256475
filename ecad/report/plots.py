"""Figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

_STYLES: dict[str, dict[str, Any]] = {
    "front": {"color": "#1b7f4d", "marker": "o", "label": "ecad front"},
    "heuristic": {"color": "#d98c00", "marker": "s", "label": "heuristics"},
    "fewer-steps": {"color": "#2f6fb0", "marker": "^", "label": "fewer steps, uncached"},
}


def front_figure(report: Mapping[str, Any], search_points: Sequence[tuple[float, float]]) -> Figure:
    """Quality against speedup, in MACs and in measured latency, and the hypervolume per generation.

    `search_points` are (relative cost, quality) of all schedules the search evaluated, on its own prompts.
    Error bars are 95 % intervals on the held-out prompts.
    """
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    macs, latency, progress = figure.subplots(1, 3, width_ratios=(4, 4, 2.6))
    _front_axes(macs, report, "speedup_macs")
    if search_points and report["search"].get("cost", "macs") == "macs":
        speedups = [1.0 / cost for cost, _ in search_points]
        qualities = [quality for _, quality in search_points]
        macs.scatter(speedups, qualities, s=6, color="0.75", zorder=0, label="evaluated (search prompts)")
    macs.set_xlabel("speedup in MACs")
    _front_axes(latency, report, "speedup_latency")
    latency.set_xlabel("speedup in measured latency")
    lowest = min(row["quality_interval"][0] for row in report["rows"] if row["speedup_macs"] < 8)
    highest = max(row["quality_interval"][1] for row in report["rows"])
    for axes in (macs, latency):
        axes.set_ylim(lowest - 0.02 * abs(highest), highest + 0.02 * abs(highest))
    macs.legend(loc="lower left", fontsize=8)
    volumes = report["search"]["hypervolume"]
    progress.plot(range(1, len(volumes) + 1), volumes, color="0.2")
    progress.set_xlabel("generation")
    progress.set_ylabel("hypervolume (search prompts)")
    progress.grid(alpha=0.3)
    figure.suptitle(
        f"{report['model']}, {report['steps']} steps: {report['quality']} on {report['heldout']['images']} "
        f"held-out images ({report['environment']['hardware']})",
        fontsize=11,
    )
    return figure


def _front_axes(axes: Axes, report: Mapping[str, Any], speedup: str) -> None:
    for kind, style in _STYLES.items():
        rows = sorted(
            (row for row in report["rows"] if row["kind"] == kind), key=lambda row: float(row[speedup])
        )
        below = [row["quality"] - row["quality_interval"][0] for row in rows]
        above = [row["quality_interval"][1] - row["quality"] for row in rows]
        axes.errorbar(
            [row[speedup] for row in rows],
            [row["quality"] for row in rows],
            yerr=[below, above],
            linestyle="-" if kind == "front" else "none",
            linewidth=1.2,
            markersize=5,
            elinewidth=0.7,
            capsize=2,
            **style,
        )
        if kind != "front":
            for row in rows:
                name = row["name"]
                axes.annotate(
                    name if len(name) <= 12 else f"{name[:10]}...",
                    (row[speedup], row["quality"]),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=6.5,
                    color=style["color"],
                    annotation_clip=True,
                )
    uncached = next(row for row in report["rows"] if row["kind"] == "uncached")
    axes.axhline(uncached["quality"], color="0.4", linewidth=0.8, linestyle=":", label="uncached")
    axes.set_xscale("log")
    axes.set_xticks([1, 1.5, 2, 3, 4, 5, 6, 8], minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_xlim(0.95, 9)
    axes.set_ylabel(report["quality"])
    axes.grid(alpha=0.3)
