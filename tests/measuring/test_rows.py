"""Rows as files have them, and back."""

from __future__ import annotations

import json

import pytest

from ecad.errors import RunError
from ecad.measuring.rows import Kind, Quality, Row, Spread
from ecad.report.search_report import SearchReport, Versus, Volumes

ROW = Row(
    "01-2.00x",
    Kind.FRONT,
    20,
    1_000,
    2.0,
    0.05,
    1.75,
    (1.5, 2.0),
    {"alignment": Quality(0.9, (0.875, 0.925), -0.01, (-0.02, 0.0))},
    latency_s_predicted=0.06,
)


def test_an_evaluations_row() -> None:
    content = json.loads(json.dumps(ROW.to_json()))
    assert list(content) == [
        *("name", "kind", "steps", "macs", "speedup_macs", "latency_s", "speedup_latency"),
        *("speedup_latency_range", "peak_memory_bytes", "identical_to_uncached", "metrics"),
    ]
    assert content["metrics"]["alignment"] == {
        "quality": 0.9,
        "quality_interval": [0.875, 0.925],
        "difference": -0.01,
        "difference_interval": [-0.02, 0.0],
    }
    # Only a search has a latency table.
    assert Row.from_json(content) == Row(**{**vars(ROW), "latency_s_predicted": None})


def test_a_reports_row_has_its_only_metric_in_itself() -> None:
    content = json.loads(json.dumps(ROW.to_json("alignment")))
    assert list(content) == [
        *("name", "kind", "steps", "macs", "speedup_macs", "latency_s", "latency_s_predicted"),
        *("speedup_latency", "speedup_latency_range"),
        *("quality", "quality_interval", "difference", "difference_interval"),
    ]
    assert Row.from_json(content, "alignment") == ROW


def test_the_spread_of_a_rows_timings() -> None:
    spread = Spread(0.079, 0.084, 5, 1)
    row = Row(**{**vars(ROW), "latency_spread": spread})
    content = json.loads(json.dumps(row.to_json("alignment")))
    assert content["latency_spread"] == {"low_s": 0.079, "high_s": 0.084, "timings": 5, "left_out": 1}
    assert Row.from_json(content, "alignment") == row
    # Reports of before there was one are read.
    del content["latency_spread"]
    assert Row.from_json(content, "alignment").latency_spread is None


def test_what_does_not_exist_is_left_out() -> None:
    assert Quality(1.0, difference=0.5).to_json() == {"quality": 1.0, "difference": 0.5}
    assert Quality.from_json({"quality": 1.0}) == Quality(1.0)
    unknown = Row("x", Kind.BASELINE, 1, None, None, 0.1, 3.0, (3.0, 3.0))
    assert (unknown.speedup("macs"), unknown.speedup("latency")) == (0.0, 3.0)
    assert str(Kind.FEWER_STEPS) == f"{Kind.FEWER_STEPS}" == "fewer-steps"


def test_a_report() -> None:
    report = SearchReport(
        "pixart-mini",
        20,
        "alignment",
        search={"generations": 1},
        heldout={"images": 2},
        latency={"batch_size": 1},
        environment={"hardware": "a CPU"},
        volumes=Volumes(
            "macs", 0.5, {Kind.FRONT: 0.2, Kind.HEURISTIC: 0.1, Kind.FEWER_STEPS: 0.15}, (0.0, 0.2)
        ),
        comparisons=[Versus("level", 2.0, "macs", "01", 2.1, "fora:2", 2.0, 0.01, (-0.01, 0.03))],
        rows=[ROW],
    )
    content = json.loads(json.dumps(report.to_json()))
    assert list(content["hypervolume"]) == [
        *("cost", "reference_cost", "reference_quality", "front", "heuristic", "fewer-steps"),
        "front_minus_heuristic_interval",
    ]
    assert SearchReport.from_json(content, "report.json") == report
    assert report.of_kind(Kind.FRONT) == [ROW]
    with pytest.raises(RunError, match="report.json is damaged: KeyError 'rows'"):
        SearchReport.from_json({key: content[key] for key in content if key != "rows"}, "report.json")
    with pytest.raises(RunError, match="report.json is in format 7, this version of ecad reads 1"):
        SearchReport.from_json({**content, "ecad_report": 7}, "report.json")
