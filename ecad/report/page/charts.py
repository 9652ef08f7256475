"""The page's charts as Vega-Lite specifications: plain data, drawn by Vega in the browser.

Colours are CSS variables of the page, so the charts follow its light and dark theme without being drawn again.
"""

from __future__ import annotations

from typing import Any

from ecad.report.page.content import Content, Mark, nondominated_marks
from ecad.report.page.panels import calibration_panels
from ecad.report.results import MetricColumn
from ecad.schedule import Calibration

Spec = dict[str, Any]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # only a name: nothing is loaded
_TICKS = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50]
_HEADER = {"title": None, "labelExpr": "split(datum.label, '\\n')"}
_PAD = 0.04  # of the range of qualities, above and below


def front_charts(content: Content) -> dict[str, dict[str, Spec]]:
    """Measure -> metric -> chart; only where there are marks for both."""
    charts: dict[str, dict[str, Spec]] = {}
    for measure in content.measures:
        for metric in content.metrics:
            if any(_has(mark, measure.key, metric) for mark in content.marks):
                charts.setdefault(measure.key, {})[metric.name] = front_chart(
                    content, measure.key, measure.axis, metric
                )
    return charts


def front_chart(content: Content, measure: str, axis: str, metric: MetricColumn) -> Spec:
    """Quality against speedup: a mark for each way, intervals as lines, the front's line over those of its schedules
    that no other one of it beats in this measure.

    Parameters: `hidden`, keys of the groups that are switched off; `selected`, the id of a mark; `whole`, whether
    marks far below the front are in the picture.
    """
    marks = [mark for mark in content.marks if _has(mark, measure, metric)]
    ours = [mark for mark in marks if mark.group.key in ("front", "schedules")]
    line = nondominated_marks(ours, measure, metric)
    cloud = []
    if content.cloud_measure == measure and len(content.metrics) == 1:
        cloud = [{"x": round(x, 4), "y": round(y, 5)} for x, y in content.cloud]
    near, far = quality_ranges(marks, ours or marks, metric)
    fastest = max([mark.speedups[measure] for mark in marks] + [point["x"] for point in cloud], default=2.0)
    fastest_near = max((mark.speedups[measure] for mark in ours or marks), default=2.0)
    keys = [group.key for group in content.groups]
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {
            "type": "log",
            "domainMin": {"expr": "whole ? " + _domain_min(marks, measure, 1.0)},
            "domainMax": {"expr": f"whole ? {fastest * 1.05:.4g} : {max(3.0, fastest_near * 1.3):.4g}"},
            "nice": False,
        },
        "axis": {
            "title": axis,
            "values": _TICKS,
            "format": "~g",
            "labelExpr": "datum.label + '×'",
            "labelOverlap": "greedy",
        },
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "scale": {
            "domainMin": {"expr": f"whole ? {far[0]:.6g} : {near[0]:.6g}"},
            "domainMax": {"expr": f"whole ? {far[1]:.6g} : {near[1]:.6g}"},
            "zero": False,
            "nice": False,
        },
        "axis": {"title": metric.name + ("" if metric.higher_is_better else " (lower is better)")},
    }
    visible = {"filter": "indexof(hidden, datum.group) < 0"}
    colour = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": keys, "range": [f"var(--mark-{key})" for key in keys]},
        "legend": None,
    }
    shape = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": keys, "range": [group.shape for group in content.groups]},
        "legend": None,
    }
    layers: list[Spec] = []
    uncached = [mark for mark in marks if mark.group.key == "uncached"]
    if uncached:
        layers.append(
            {
                "data": {"values": [{"y": uncached[0].qualities[metric.name][0]}]},
                "mark": {"type": "rule", "color": "var(--quiet)", "strokeDash": [3, 3], "aria": False},
                "encoding": {"y": {**y, "type": "quantitative"}},
            }
        )
    if cloud:
        layers.append(
            {
                "data": {"values": cloud},
                "mark": {
                    "type": "point",
                    "size": 8,
                    "filled": True,
                    "color": "var(--quiet)",
                    "opacity": 0.35,
                    "clip": True,
                    "aria": False,
                    "tooltip": None,
                },
                "encoding": {"x": x, "y": y},
            }
        )
    layers += [
        {
            "transform": [visible],
            "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.7, "clip": True, "aria": False},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            "data": {"values": [_point(mark, measure, metric, content) for mark in line]},
            "mark": {
                "type": "line",
                "color": "var(--mark-front)",
                "strokeWidth": 1.5,
                "clip": True,
                "aria": False,
            },
            "encoding": {"x": x, "y": y, "order": {"field": "x", "type": "quantitative"}},
        },
        {
            "transform": [{"filter": "datum.id === selected"}],
            "mark": {
                "type": "point",
                "shape": "circle",
                "size": 320,
                "stroke": "var(--ink)",
                "strokeWidth": 2,
                "clip": True,
                "aria": False,
                "tooltip": None,
            },
            "encoding": {"x": x, "y": y},
        },
        {
            "transform": [visible],
            "mark": {
                "type": "point",
                "filled": True,
                "size": 85,
                "opacity": 0.9,
                "cursor": "pointer",
                "clip": True,
            },
            "encoding": {
                "x": x,
                "y": y,
                "color": colour,
                "shape": shape,
                "description": {"field": "label"},
                "tooltip": [
                    {"field": f"cell{place}", "title": heading, "type": "nominal"}
                    for place, heading in enumerate(content.headings)
                ],
            },
        },
    ]
    return {
        "$schema": _SCHEMA,
        "description": f"{metric.name} against {axis}: {len(marks)} marks. The table below has the same numbers.",
        "width": "container",
        "height": 400,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [
            {"name": "hidden", "value": []},
            {"name": "selected", "value": ""},
            {"name": "whole", "value": False},
        ],
        "data": {"values": [_point(mark, measure, metric, content) for mark in marks]},
        "layer": layers,
    }


def quality_ranges(
    marks: list[Mark], ours: list[Mark], metric: MetricColumn
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What the axis covers: round the front's intervals and the best of all, and round everything."""
    if not marks:
        return (0.0, 1.0), (0.0, 1.0)
    all_low = min(mark.qualities[metric.name][1] for mark in marks)
    all_high = max(mark.qualities[metric.name][2] for mark in marks)
    our_low = min(mark.qualities[metric.name][1] for mark in ours)
    our_high = max(mark.qualities[metric.name][2] for mark in ours)
    low, high = (our_low, all_high) if metric.higher_is_better else (all_low, our_high)

    def padded(low: float, high: float) -> tuple[float, float]:
        pad = _PAD * (high - low or abs(high) or 1.0)
        return low - pad, high + pad

    return padded(low, high), padded(all_low, all_high)


def volume_chart(hypervolume: list[float]) -> Spec:
    """The hypervolume after each generation."""
    values = [{"generation": number, "volume": value} for number, value in enumerate(hypervolume, start=1)]
    return {
        "$schema": _SCHEMA,
        "description": "Hypervolume of the front on the search's prompts after each generation.",
        "width": "container",
        "height": 220,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": values},
        "mark": {"type": "line", "color": "var(--mark-front)", "point": {"color": "var(--mark-front)"}},
        "encoding": {
            "x": {
                "field": "generation",
                "type": "quantitative",
                "axis": {"values": _thinned(len(values)), "format": "d", "title": "generation"},
                "scale": {"zero": False, "nice": False},
            },
            "y": {
                "field": "volume",
                "type": "quantitative",
                "scale": {"zero": False},
                "axis": {"title": "hypervolume"},
            },
            "tooltip": [
                {"field": "generation", "type": "quantitative"},
                {"field": "volume", "type": "quantitative", "format": ".4f", "title": "hypervolume"},
            ],
        },
    }


def calibration_chart(calibration: Calibration) -> Spec:
    """How far each output is from itself at every other step, a panel each. The page sets the number of columns."""
    panels = calibration_panels(calibration)
    steps = list(range(calibration.shape.steps))
    values = [
        {"panel": title, "s": step, "t": steps, "v": [round(float(value), 3) for value in distances[step]]}
        for title, distances in panels.items()
        for step in steps
    ]
    axis = {"values": steps[:: max(1, len(steps) // 4)], "labelAngle": 0}
    return {
        "$schema": _SCHEMA,
        "description": (
            "Relative distance of each output to itself at every other step; the table below has the distances of "
            "neighbouring steps."
        ),
        "data": {"values": values},
        "transform": [{"flatten": ["t", "v"]}],
        "facet": {
            "field": "panel",
            "type": "nominal",
            "sort": list(panels),
            "header": _HEADER,
        },
        "columns": 4,
        "spec": {
            "width": 150,
            "height": 150,
            "mark": {"type": "rect", "aria": False},
            "encoding": {
                "x": {"field": "t", "type": "ordinal", "axis": {**axis, "title": "used at step"}},
                "y": {"field": "s", "type": "ordinal", "axis": {**axis, "title": "computed at step"}},
                "color": {
                    "field": "v",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1], "clamp": True, "scheme": "magma"},
                    "legend": {"title": "relative distance", "orient": "bottom", "gradientLength": 160},
                },
                "tooltip": [
                    {"field": "panel", "type": "nominal", "title": "output"},
                    {"field": "s", "type": "ordinal", "title": "computed at step"},
                    {"field": "t", "type": "ordinal", "title": "used at step"},
                    {"field": "v", "type": "quantitative", "title": "relative distance"},
                ],
            },
        },
    }


def heatmap_chart() -> Spec:
    """A schedule's panels (`ecad.report.page.panels`); the page fills in the data and the sizes."""
    return {
        "$schema": _SCHEMA,
        "description": "What the schedule recomputes: rows are steps, columns are blocks.",
        "data": {"values": []},
        "transform": [
            {"calculate": "split(datum.bits, '')", "as": "bit"},
            {"calculate": "sequence(length(datum.bits))", "as": "block"},
            {"flatten": ["bit", "block"]},
            {"filter": "datum.bit !== ' '"},
        ],
        "facet": {"field": "panel", "type": "nominal", "sort": [], "header": _HEADER},
        "columns": 4,
        "resolve": {"scale": {"x": "independent"}},
        "spec": {
            "width": 110,
            "height": 200,
            "mark": {"type": "rect", "aria": False, "stroke": "var(--paper)", "strokeWidth": 0.5},
            "encoding": {
                "x": {
                    "field": "block",
                    "type": "ordinal",
                    "axis": {"title": "block", "labelAngle": 0, "labelOverlap": "greedy"},
                },
                "y": {
                    "field": "step",
                    "type": "ordinal",
                    "axis": {"title": "step", "labelOverlap": "greedy"},
                },
                "color": {
                    "field": "bit",
                    "type": "nominal",
                    "scale": {
                        "domain": ["1", "0", "-"],
                        "range": ["var(--recomputed)", "var(--reused)", "var(--not-run)"],
                    },
                    "legend": None,
                },
                "tooltip": [
                    {"field": "panel", "type": "nominal", "title": "component"},
                    {"field": "step", "type": "ordinal"},
                    {"field": "block", "type": "ordinal"},
                    {"field": "bit", "type": "nominal", "title": "1 recomputed, 0 reused, - not run"},
                ],
            },
        },
    }


def _thinned(count: int) -> list[int]:
    """At most about a dozen of the numbers from 1 to `count`."""
    return list(range(1, count + 1, max(1, -(-count // 12))))


def _domain_min(marks: list[Mark], measure: str, near: float) -> str:
    """The rest of an expression: the slowest of all, or about 1."""
    slowest = min((mark.speedups[measure] for mark in marks), default=1.0)
    return f"{min(slowest, near) * 0.95:.4g} : {near * 0.95:.4g}"


def _has(mark: Mark, measure: str, metric: MetricColumn) -> bool:
    return measure in mark.speedups and metric.name in mark.qualities


def _point(mark: Mark, measure: str, metric: MetricColumn, content: Content) -> dict[str, Any]:
    mean, low, high = mark.qualities[metric.name]
    speedup = mark.speedups[measure]
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
