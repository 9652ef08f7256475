"""The log as rows of a table: shares of the uncached model, paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from log import Log

from ecad.measuring.statistics import paired_interval

RUINED = 0.1  # an image that loses more alignment than this


@dataclass(frozen=True)
class Row:
    """`compute` is the share of the uncached transformer's FLOPs; `time` that of its processor time, the median over
    repeats, `time_range` the smallest and largest, `wall` the median by the clock. `ruined` is a share of images.
    `scores` is the alignment of each caption's image."""

    model: str
    method: str
    setting: str
    alignment: float
    difference: float
    low: float
    high: float
    ruined: float
    psnr: float
    compute: float
    time: float
    time_range: tuple[float, float]
    wall: float
    left_behind: tuple[str, ...] = ()
    own_off_identical: bool = True
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False)

    def is_worse_than(self, other: Row) -> bool:
        """Whether the 95 % interval of the paired difference lies below 0."""
        return paired_interval(self.scores, other.scores).high < 0

    def cost(self, kind: str) -> float:
        return float(getattr(self, kind))


def rows_of(log: Log, model: str) -> list[Row]:
    """The uncached model's, then the others by their compute."""
    found = next((line for line in log.of_kind("uncached") if line["model"] == model), None)
    if found is None:
        return []
    uncached = np.array(found["alignment"])
    first = Row(
        model,
        "uncached",
        "",
        float(uncached.mean()),
        0.0,
        0.0,
        0.0,
        0.0,
        float("nan"),
        1.0,
        1.0,
        (1.0, 1.0),
        1.0,
    )
    rows = [_row(line, uncached, found["flops"]) for line in log.of_kind("row") if line["model"] == model]
    return [first, *sorted(rows, key=lambda row: row.compute)]


def best_rows(rows: Sequence[Row], kind: str) -> set[tuple[str, str]]:
    """(method, setting) of those that no other one beats in cost and mean alignment; `kind` is compute or time."""
    return {
        (row.method, row.setting)
        for row in rows
        if not any(
            other.cost(kind) <= row.cost(kind)
            and other.difference >= row.difference
            and (other.cost(kind), other.difference) != (row.cost(kind), row.difference)
            for other in rows
        )
    }


def least_loss(rows: Iterable[Row], method: str, kind: str, most: float) -> Row | None:
    """A method's setting of the highest alignment among those that cost at most this."""
    fitting = [row for row in rows if row.method == method and row.cost(kind) <= most]
    return max(fitting, key=lambda row: row.difference, default=None)


def read(path: Path) -> Log:
    if not path.exists():
        raise SystemExit(f"no {path}: run compare.py first")
    return Log(path)


def _row(line: dict[str, Any], uncached: np.ndarray, flops: int) -> Row:
    alignment = np.array(line["alignment"])
    interval = paired_interval(alignment, uncached)
    times = np.array(line["cpu_s"]) / np.array(line["uncached_cpu_s"])
    walls = np.array(line["wall_s"]) / np.array(line["uncached_wall_s"])
    return Row(
        line["model"],
        line["method"],
        line["setting"],
        float(alignment.mean()),
        *interval,
        float(np.mean(uncached - alignment > RUINED)),
        float(np.mean(line["psnr"])),
        line["flops"] / flops,
        float(np.median(times)),
        (float(times.min()), float(times.max())),
        float(np.median(walls)),
        tuple(line["left_behind"]),
        line["own_off_identical"],
        alignment,
    )
