"""The front as a Vega-Lite specification: plain data, drawn by Vega in the browser.

Colours are CSS variables of the page, so that charts follow its light and dark theme without being drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecad.report.page.content import Content, Mark, Measure, nondominated_marks
from ecad.report.results import MetricColumn

Spec = dict[str, Any]
Range = tuple[float, float]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # only a name: nothing is loaded
_TICKS = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50]
_PAD = 0.04  # of the range of qualities, above and below


def front_charts(content: Content) -> dict[str, dict[str, Spec]]:
    """Measure -> metric -> chart; only where there are marks for both."""
    charts: dict[str, dict[str, Spec]] = {}
    for measure in content.measures:
        for metric in content.metrics:
            if any(_has(mark, measure, metric) for mark in content.marks):
                charts.setdefault(measure.key, {})[metric.name] = front_chart(content, measure, metric)
    return charts


def front_chart(content: Content, measure: Measure, metric: MetricColumn) -> Spec:
    """Quality against speedup: a mark for each way, intervals as lines, the front's line over those of its schedules
    that no other one of it beats in this measure.

    Parameters: `hidden`, keys of the groups that are switched off; `selected`, the id of a mark; `whole`, whether
    marks far from the front are in the picture.
    """
    marks = [mark for mark in content.marks if _has(mark, measure, metric)]
    ours = [mark for mark in marks if mark.group.key in ("front", "schedules")] or marks
    cloud = []
    if content.cloud_measure == measure.key and len(content.metrics) == 1:
        cloud = [{"x": round(x, 4), "y": round(y, 5)} for x, y in content.cloud]
    xy = {
        "x": _x(measure, speed_ranges(marks, ours, measure.key, [point["x"] for point in cloud])),
        "y": _y(metric, quality_ranges(marks, ours, metric)),
    }
    line = nondominated_marks(ours, measure.key, metric) if ours is not marks else []
    visible = [{"filter": "indexof(hidden, datum.group) < 0"}]
    colour = _by_group(content, [f"var(--mark-{group.key})" for group in content.groups])
    shape = _by_group(content, [group.shape for group in content.groups])
    return {
        "$schema": SCHEMA,
        "description": (
            f"{metric.name} against {measure.axis}: {len(marks)} marks. The table below has the same numbers."
        ),
        "width": "container",
        "height": 400,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [
            {"name": "hidden", "value": []},
            {"name": "selected", "value": ""},
            {"name": "whole", "value": False},
        ],
        "data": {"values": [_point(mark, measure, metric) for mark in marks]},
        "layer": [
            *_uncached_layer(marks, metric, xy["y"]),
            {
                "data": {"values": cloud},
                "mark": _quiet(
                    "point", size=8, filled=True, color="var(--quiet)", opacity=0.35, tooltip=None
                ),
                "encoding": xy,
            },
            {
                "transform": visible,
                "mark": _quiet("rule", strokeWidth=1, opacity=0.7),
                "encoding": {
                    "x": xy["x"],
                    "y": {**xy["y"], "field": "low"},
                    "y2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "data": {"values": [_point(mark, measure, metric) for mark in line]},
                "mark": _quiet("line", color="var(--mark-front)", strokeWidth=1.5),
                "encoding": {**xy, "order": {"field": "x", "type": "quantitative"}},
            },
            {
                "transform": [{"filter": "datum.id === selected"}],
                "mark": _quiet("point", size=320, stroke="var(--ink)", strokeWidth=2, tooltip=None),
                "encoding": xy,
            },
            {
                "transform": visible,
                "mark": {
                    **{"type": "point", "filled": True, "size": 85, "opacity": 0.9},
                    **{"cursor": "pointer", "clip": True},
                },
                "encoding": {
                    **xy,
                    "color": colour,
                    "shape": shape,
                    "description": {"field": "label"},
                    "tooltip": [
                        {"field": f"cell{place}", "title": heading, "type": "nominal"}
                        for place, heading in enumerate(content.headings)
                    ],
                },
            },
        ],
    }


def speed_ranges(
    marks: Sequence[Mark], ours: Sequence[Mark], measure: str, others: Sequence[float] = ()
) -> tuple[Range, Range]:
    """What the axis covers: from about 1 to somewhat beyond the front, and everything."""
    speeds = [mark.speedups[measure] for mark in marks] + list(others)
    fastest_of_ours = max((mark.speedups[measure] for mark in ours), default=2.0)
    near = 0.95, max(3.0, 1.3 * fastest_of_ours)
    return near, (0.95 * min([1.0, *speeds]), 1.05 * max([2.0, *speeds]))


def quality_ranges(marks: Sequence[Mark], ours: Sequence[Mark], metric: MetricColumn) -> tuple[Range, Range]:
    """What the axis covers: round the front's intervals and the best of all, and round everything."""
    if not marks:
        return (0.0, 1.0), (0.0, 1.0)
    everything = _extent(marks, metric)
    front = _extent(ours, metric)
    near = (front[0], everything[1]) if metric.higher_is_better else (everything[0], front[1])
    return _padded(near), _padded(everything)


def _extent(marks: Sequence[Mark], metric: MetricColumn) -> Range:
    numbers = [mark.qualities[metric.name] for mark in marks]
    return min(low for _, low, _ in numbers), max(high for _, _, high in numbers)


def _padded(extent: Range) -> Range:
    low, high = extent
    pad = _PAD * (high - low or abs(high) or 1.0)
    return low - pad, high + pad


def _x(measure: Measure, ranges: tuple[Range, Range]) -> Spec:
    return {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, **_domain(ranges)},
        "axis": {
            "title": measure.axis,
            "values": _TICKS,
            "format": "~g",
            "labelExpr": "datum.label + '×'",
            "labelOverlap": "greedy",
        },
    }


def _y(metric: MetricColumn, ranges: tuple[Range, Range]) -> Spec:
    return {
        "field": "y",
        "type": "quantitative",
        "scale": {"zero": False, "nice": False, **_domain(ranges)},
        "axis": {"title": metric.name + ("" if metric.higher_is_better else " (lower is better)")},
    }


def _domain(ranges: tuple[Range, Range]) -> Spec:
    (near_low, near_high), (far_low, far_high) = ranges
    return {
        "domainMin": {"expr": f"whole ? {far_low:.6g} : {near_low:.6g}"},
        "domainMax": {"expr": f"whole ? {far_high:.6g} : {near_high:.6g}"},
    }


def _by_group(content: Content, values: Sequence[str]) -> Spec:
    domain = [group.key for group in content.groups]
    return {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": domain, "range": list(values)},
        "legend": None,
    }


def _quiet(kind: str, **settings: Any) -> Spec:
    """A mark that a screen reader is not told of: the points say it all."""
    return {"type": kind, "clip": True, "aria": False, **settings}


def _uncached_layer(marks: Sequence[Mark], metric: MetricColumn, y: Spec) -> list[Spec]:
    levels = [mark.qualities[metric.name][0] for mark in marks if mark.group.key == "uncached"]
    return [
        {
            "data": {"values": [{"y": level}]},
            "mark": _quiet("rule", color="var(--quiet)", strokeDash=[3, 3]),
            "encoding": {"y": y},
        }
        for level in levels[:1]
    ]


def _has(mark: Mark, measure: Measure, metric: MetricColumn) -> bool:
    return measure.key in mark.speedups and metric.name in mark.qualities


def _point(mark: Mark, measure: Measure, metric: MetricColumn) -> dict[str, Any]:
    mean, low, high = mark.qualities[metric.name]
    speedup = mark.speedups[measure.key]
    return {
        "id": mark.id,
        "group": mark.group.key,
        "x": round(speedup, 4),
        "y": round(mean, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "label": f"{mark.name}, {mark.group.label}: {speedup:.2f} times, {metric.name} {mean:.{metric.decimals}f}",
        **{f"cell{place}": cell for place, cell in enumerate(mark.cells)},
    }
