"""Which rows a report compares, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from contracts.toys import toy_settings

from ecad.measuring.rows import Kind, Quality, Row
from ecad.report.search_report import Volumes
from ecad.searching.rivals import _ordered_area, comparisons, hypervolumes

# name, kind, speedup in MACs, speedup in latency, held-out quality
ROWS = [
    ("uncached", "uncached", 1.0, 1.0, 0.90),
    ("01", "front", 2.1, 1.6, 0.89),
    ("02", "front", 3.2, 2.2, 0.85),
    ("03", "front", 5.1, 2.9, 0.86),  # lucky on the held-out prompts
    ("fora:2", "heuristic", 1.98, 1.6, 0.88),
    ("fora:3", "heuristic", 2.81, 2.1, 0.84),
    ("fora:4", "heuristic", 3.90, 2.8, 0.70),
    ("steps:10", "fewer-steps", 2.0, 1.9, 0.87),
    ("steps:7", "fewer-steps", 2.9, 2.6, 0.80),
]


@pytest.fixture
def report_input() -> tuple[Any, list[Row], list[Any]]:
    rows = [
        Row(name, Kind(kind), 20, 1, macs, 1.0, latency, (latency, latency), {"toy": Quality(quality)})
        for name, kind, macs, latency, quality in ROWS
    ]
    noise = np.random.default_rng(0).normal(0.0, 0.01, 40)
    noise -= noise.mean()
    outcomes = [SimpleNamespace(scores=row.metrics["toy"].mean + noise) for row in rows]
    return toy_settings(1, 4), rows, outcomes


def test_rivals(report_input: Any) -> None:
    found = {
        (item.how, round(item.speedup, 2), item.rival.partition(":")[0]): (
            item.front,
            item.rival,
            round(item.difference, 6),
        )
        for item in comparisons(*report_input)
    }
    assert found == {
        # Both sides reach the level; the best heuristic is chosen by its held-out quality.
        ("level", 1.5, "fora"): ("01", "fora:2", 0.01),
        ("level", 2.0, "fora"): ("01", "fora:3", 0.05),
        ("level", 3.0, "fora"): ("02", "fora:4", 0.15),
        # At 4x and 5x there is no heuristic here, and at 3x nobody takes so few steps.
        ("level", 1.5, "steps"): ("01", "steps:10", 0.02),
        ("level", 2.0, "steps"): ("01", "steps:10", 0.02),
        ("same latency", 1.5, "steps"): ("01", "steps:10", 0.02),
        ("same latency", 2.0, "steps"): ("01", "steps:10", 0.02),
        ("same latency", 3.0, "steps"): ("02", "steps:7", 0.05),
        # The front's schedule costs no more than the rival: 2.1x for 1.98x, 3.2x for 2.81x, 5.1x for 3.90x.
        ("same cost", 1.98, "fora"): ("01", "fora:2", 0.01),
        ("same cost", 2.81, "fora"): ("02", "fora:3", 0.01),
        ("same cost", 3.9, "fora"): ("03", "fora:4", 0.16),
        ("same cost", 2.0, "steps"): ("01", "steps:10", 0.02),
        ("same cost", 2.9, "steps"): ("02", "steps:7", 0.05),
    }


def test_the_staircase_does_not_choose_by_heldout_scores() -> None:
    # 0.2 to 0.5 is bought with the schedule of cost 0.2, 0.5 to 1 with that of cost 0.5, although it is worse.
    assert _ordered_area([0.5, 0.2], [0.6, 0.7], 1.0, 0.5) == pytest.approx(0.3 * 0.2 + 0.5 * 0.1)
    assert _ordered_area([0.5], [0.4], 1.0, 0.5) == 0.0


def test_hypervolumes(report_input: Any) -> None:
    volumes = hypervolumes(*report_input)
    low, high = volumes.front_minus_heuristic
    assert volumes.reference_quality == pytest.approx(0.70)
    assert volumes.by_kind[Kind.FRONT] > volumes.by_kind[Kind.HEURISTIC]
    assert low <= volumes.by_kind[Kind.FRONT] - volumes.by_kind[Kind.HEURISTIC] <= high
    assert low > 0.0
    # The rivals may choose among heuristics and fewer steps: steps:7 adds what lies between fora:3 and fora:4.
    assert volumes.rivals is not None
    assert volumes.front_minus_rivals is not None
    assert volumes.rivals >= max(volumes.by_kind[Kind.HEURISTIC], volumes.by_kind[Kind.FEWER_STEPS])
    assert volumes.front_minus_rivals[0] <= volumes.by_kind[Kind.FRONT] - volumes.rivals
    assert volumes.front_minus_rivals[1] <= high
    assert Volumes.from_json(volumes.to_json()) == volumes
