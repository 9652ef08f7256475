"""What the results of bench.py say, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COSTS = (0.5, 0.4, 0.3, 0.25, 0.2)  # at which losses are printed

Result = Mapping[str, Any]  # a line of results.jsonl


def table(results: Sequence[Result], arms: Sequence[str], plain_name: str) -> str:
    """Markdown: mean (smallest to largest) over the seeds. Shares are of the work of the same seed's `plain_name`."""
    plain = {each["seed"]: each for each in results if each["arm"] == plain_name}
    lines = [
        "| search | held-out hypervolume | work | share of plain's work until it has plain's hypervolume |",
        "|---|---|---|---|",
    ]
    for arm in arms:
        mine = [each for each in results if each["arm"] == arm and each["seed"] in plain]
        if not mine:
            continue
        shares = []
        for each in mine:
            other = plain[each["seed"]]
            reached = [
                work
                for work, volume in zip(each["work"], each["volume"], strict=True)
                if volume >= other["volume"][-1]
            ]
            shares.append(reached[0] / other["work"][-1] if reached else np.inf)
        volumes = [each["volume"][-1] for each in mine]
        works = [each["work"][-1] / plain[each["seed"]]["work"][-1] for each in mine]
        lines.append(f"| {arm} | {_spread(volumes, 4)} | {_spread(works, 2)} | {_spread(shares, 3)} |")
    return "\n".join(lines)


def table_of_losses(results: Sequence[Result], arms: Sequence[str]) -> str:
    """Markdown: held-out loss of the dearest schedule of the last front that costs at most so much; over the seeds mean
    (smallest to largest)."""
    lines = [
        "| search | " + " | ".join(f"{most:g}" for most in COSTS) + " |",
        "|---" * (1 + len(COSTS)) + "|",
    ]
    for arm in arms:
        fronts = [sorted(map(tuple, each["front"])) for each in results if each["arm"] == arm]
        if not fronts:
            continue
        columns = []
        for most in COSTS:
            # The last one is the untouched model.
            losses = [front[-1][1] - quality for front in fronts for _, quality in _dearest(front, most)]
            columns.append(_spread(losses, 3) if len(losses) == len(fronts) else "")
        lines.append(f"| {arm} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def _dearest(front: list[tuple[float, float]], most: float) -> list[tuple[float, float]]:
    """Of (cost, quality), cheapest first, the last that costs at most so much; empty if none does."""
    return [point for point in front if point[0] <= most][-1:]


def _spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
