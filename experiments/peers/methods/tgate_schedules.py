"""T-GATE's idea as an ecad schedule (arXiv 2404.02747): cross-attention is computed up to the gate step only."""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.schedules import rows

NAME = "T-GATE, cross-attention alone"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    return rows(bench, ["tgate:10", "tgate:5"])
