"""The page's smaller charts as Vega-Lite specifications: hypervolume, calibration, and a schedule's heatmap."""

from __future__ import annotations

from ecad.report.page.front_chart import SCHEMA, Spec
from ecad.report.page.panels import calibration_panels
from ecad.schedule import Calibration

_HEADER = {"title": None, "labelExpr": "split(datum.label, '\\n')"}


def volume_chart(hypervolume: list[float]) -> Spec:
    """The hypervolume after each generation."""
    values = [{"generation": number, "volume": value} for number, value in enumerate(hypervolume, start=1)]
    return {
        "$schema": SCHEMA,
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
        "$schema": SCHEMA,
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
        "$schema": SCHEMA,
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
