"""Fewer steps: the uncached model at some of its own noise levels, or at others that are as many."""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.schedules import rows

NAME = "fewer steps"
_TEXTS = {
    "flux-mini": (
        *("steps:0,1,2,6,12", "steps:0,1,2,5,10,15", "steps:8", "steps:0,2,6,12", "steps:5"),
        *("steps:0,1,2,4,7,11,16", "steps:10"),
    ),
    "pixart-mini": (
        *("steps:0,2,6,10,12,18", "steps:8", "steps:0,2,4,7,10,13,16", "steps:6", "steps:0,2,6,12,18"),
        *("steps:10", "steps:5"),
    ),
}


def settings(bench: Bench, front: str | None) -> list[Setting]:
    return rows(bench, _TEXTS[bench.model])
