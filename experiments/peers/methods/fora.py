"""FORA (arXiv 2407.01425): everything is recomputed every N-th step; run by ecad."""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.schedules import rows

NAME = "FORA"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    return rows(bench, ["fora:3", "fora:2", "fora:4"])
