"""The table of an evaluation in a terminal, with made-up results."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ecad.measuring.rows import Kind, Row, Spread
from ecad.report.evaluate_tables import results_markdown, results_table
from ecad.report.images import image_grid
from ecad.report.results import MetricColumn, Results
from ecad.report.row_table import milliseconds, timings_note


def metric(name: str, higher_is_better: bool, reference: str | None) -> dict[str, Any]:
    decimals = 5 if name == "kid" else 3
    return {"name": name, "higher_is_better": higher_is_better, "reference": reference, "decimals": decimals}


@pytest.fixture
def results() -> dict[str, Any]:
    """Two metrics, of which the second is better when lower; the schedule gains in one and loses in the other."""
    uncached = {
        "name": "uncached", "kind": "uncached", "steps": 20, "macs": 5_714_000_000_000, "speedup_macs": 1.0,
        "latency_s": 0.16574, "speedup_latency": 1.0, "speedup_latency_range": [1.0, 1.0], "peak_memory_bytes": None,
        "metrics": {
            "clip": {"quality": 30.0, "quality_interval": [29.0, 31.0], "difference": 0.0, "difference_interval": [0, 0]},  # noqa: E501
            "noise": {"quality": 2.0, "quality_interval": [1.0, 3.0], "difference": 0.0, "difference_interval": [0, 0]},
        },
    }  # fmt: skip
    fast = copy.deepcopy(uncached)
    fast.update(name="a | b", kind="schedule", macs=2_135_000_000_000, speedup_macs=2.676, latency_s=0.08409)
    fast.update(speedup_latency=1.97, speedup_latency_range=[1.9, 2.1], peak_memory_bytes=3 * 2**30)
    fast["metrics"]["clip"].update(difference=0.5, difference_interval=[0.25, 0.75])
    fast["metrics"]["noise"].update(difference=0.5, difference_interval=[0.25, 0.75])
    student = {
        **copy.deepcopy(fast),
        "name": "student",
        "kind": "baseline",
        "macs": None,
        "speedup_macs": None,
    }
    student["metrics"] = {"clip": student["metrics"]["clip"]}
    return {
        "model": "pixart-alpha", "steps": 20, "guidance_scale": 4.5, "height": 256, "width": 256,
        "prompts": {"name": "mine", "count": 3, "format": "text", "sha256": "0123456789abcdef", "left_out": {"empty": 2}},  # noqa: E501
        "images_per_row": 6, "seeds_per_prompt": 2, "reference": None, "interval": "as usual", "notes": ["a | note"],
        "latency": {"batch_size": 4, "batches": 1},
        "environment": {"hardware": "a GPU", "device": "cuda", "dtype": "torch.float16"},
        "metrics": [metric("clip", True, None), metric("noise", False, None)],
        "rows": [uncached, fast, student],
    }  # fmt: skip


def typed(results: dict[str, Any]) -> Results:
    about = {key: value for key, value in results.items() if key not in ("metrics", "notes", "rows")}
    metrics = [MetricColumn(**each) for each in results["metrics"]]
    return Results(about, metrics, results["notes"], [Row.from_json(row) for row in results["rows"]])


def shown(results: dict[str, Any], width: int, colour: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None).print(
        results_table(typed(results))
    )
    return file.getvalue()


def test_better_is_green_and_worse_is_red_in_either_direction(results: dict[str, Any]) -> None:
    line = next(line for line in shown(results, 200, colour=True).splitlines() if "a | b" in line)
    assert "\x1b[32m+0.500 [+0.250, +0.750]" in line  # clip, higher is better
    assert "\x1b[31m+0.500 [+0.250, +0.750]" in line  # noise, lower is better


def test_many_metrics_leave_the_names_readable(results: dict[str, Any]) -> None:
    results["metrics"] += [metric(name, True, "uncached") for name in ("psnr", "ssim")]
    for row in results["rows"][1:]:
        row["name"] = f"{row['name']} pixart-mini/fastest"
        for name in ("psnr", "ssim"):
            row["metrics"][name] = {"quality": 38.166, "quality_interval": [35.334, 41.096]}
    text = shown(results, 200)
    assert "a | b pixart-mini/fastest" in text
    assert "…" not in text
    assert "[35.334, 41.096]" in text


def test_what_does_not_exist_is_a_dash(results: dict[str, Any]) -> None:
    text = results_markdown(typed(results))
    student = next(line for line in text.splitlines() if line.startswith("| student"))
    cells = [cell.strip() for cell in student.strip("|").split("|")]
    assert cells[:5] == ["student", "baseline", "20", "–", "–"]
    assert cells[-2] == "–"  # noise
    assert "| a \\| b | schedule | 20 | 2.13 T | 2.68x | 84.1 | 1.97x (1.90-2.10) | 3.00 |" in text
    assert "left out: 2 empty" in text


def test_a_grid_takes_images_of_other_sizes() -> None:
    square, tall = np.full((64, 64, 3), 200, np.uint8), np.full((100, 50, 3), 10, np.uint8)
    grid = image_grid(
        [[square, square], [tall, tall]], ["first", "a very long label " * 5], ["one", "x" * 90]
    )
    assert grid.size == (150 + 2 * 136, 8 + 3 * 16 + 2 * 136)
    upper = 8 + 3 * 16 + 136
    assert grid.getpixel((150 + 64, upper + 64)) == (10, 10, 10)
    assert grid.getpixel((150 + 10, upper + 64)) == (255, 255, 255)  # beside the tall image


def test_kid_has_the_decimals_that_it_needs(results: dict[str, Any]) -> None:
    results["metrics"] = [metric("kid", False, "set")]
    for row, quality in zip(results["rows"], (0.01612, 0.01694, 0.02), strict=True):
        row["metrics"] = {"kid": {"quality": quality, "difference": quality - 0.01612}}
    assert "| 0.01694 | +0.00082 |" in results_markdown(typed(results))
    assert "0.01694" in shown(results, 200)


def test_times_with_their_quartiles() -> None:
    def row(latency_s: float, spread: Spread | None) -> Row:
        return Row("x", Kind.SCHEDULE, 20, None, None, latency_s, 1.0, (1.0, 1.0), latency_spread=spread)

    assert milliseconds(row(0.0802, Spread(0.0791, 0.0838, 5, 1))) == "80 (79-84)"
    assert milliseconds(row(0.00981, Spread(0.0097, 0.0099, 5, 1))) == "9.8 (9.7-9.9)"
    assert milliseconds(row(0.0802, Spread(0.0801, 0.0803, 5, 1))) == "80"
    assert milliseconds(row(0.08023, None)) == "80.2"  # of an older version
    rows = [row(0.1, Spread(0.1, 0.1, 3, 1)), row(0.1, Spread(0.1, 0.1, 2, 0)), row(0.1, None)]
    assert timings_note(rows, "as said") == "as said (1 of 5 left out)"
    assert timings_note(rows[2:], "as said") == timings_note(rows, None) == ""
