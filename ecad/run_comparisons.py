"""What the rows of a held-out report say together: hypervolumes, and who beats whom at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecad.config import SearchConfig
from ecad.evaluation.comparison import Outcome
from ecad.evaluation.statistics import paired_interval
from ecad.search import hypervolume

# Speedups at which the front is compared with the best of the others.
LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0)

# How much less (relatively) a speedup may be and still count as equal.
_EQUAL = 0.02

_BOOTSTRAP_RESAMPLES = 2000


def hypervolumes(
    config: SearchConfig, rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Held-out hypervolumes in the run's own cost, and the interval of front minus heuristics.

    The reference is cost 1 and the worst row's quality. The front counts as the search ordered it: which of its
    schedules is the best at a cost was decided on the search prompts, so lucky held-out scores do not help it.
    The others may choose by their held-out scores, which favours them.
    """
    speedup = f"speedup_{config.cost}"
    scores = np.stack([outcome.scores for outcome in outcomes])  # (rows, images)
    by_prompt = scores.reshape(len(rows), -1, config.heldout_seeds_per_prompt).mean(axis=2)
    reference = float(by_prompt.mean(axis=1).min())
    members = {
        kind: [index for index, row in enumerate(rows) if row["kind"] in (kind, "uncached")]
        for kind in ("front", "heuristic", "fewer-steps")
    }
    costs = {kind: [1.0 / rows[index][speedup] for index in chosen] for kind, chosen in members.items()}

    def volumes(qualities: np.ndarray) -> dict[str, float]:
        result = {}
        for kind, chosen in members.items():
            values = [float(qualities[index]) for index in chosen]
            area = _ordered_area if kind == "front" else hypervolume
            result[kind] = area(costs[kind], values, 1.0, reference)
        return result

    rng = np.random.default_rng(0)
    differences = []
    for _ in range(_BOOTSTRAP_RESAMPLES):
        picks = rng.integers(by_prompt.shape[1], size=by_prompt.shape[1])
        resampled = volumes(by_prompt[:, picks].mean(axis=1))
        differences.append(resampled["front"] - resampled["heuristic"])
    low, high = np.quantile(differences, [0.025, 0.975])
    return {
        "cost": config.cost,
        "reference_cost": 1.0,
        "reference_quality": reference,
        **volumes(by_prompt.mean(axis=1)),
        "front_minus_heuristic_interval": [float(low), float(high)],
    }


def _ordered_area(
    costs: Sequence[float], qualities: Sequence[float], reference_cost: float, reference_quality: float
) -> float:
    """Area under the staircase that takes, at each cost, the dearest schedule that is affordable."""
    area = 0.0
    edges = sorted(zip(costs, qualities, strict=True))
    for index, (cost, quality) in enumerate(edges):
        right = edges[index + 1][0] if index + 1 < len(edges) else reference_cost
        area += max(0.0, min(right, reference_cost) - cost) * max(0.0, quality - reference_quality)
    return area


def comparisons(
    config: SearchConfig, rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """The front against heuristics and fewer steps, paired on the same held-out images.

    "level": who must be at least so much faster takes the front's schedule that is best in the search among those
    (the choice does not look at held-out scores), or the heuristic that is best on the held-out prompts, which
    favours the heuristics. "same cost": against each single heuristic, the front's schedule that costs no more.
    "same latency": against fewer steps, at the measured latency of the level's schedule.
    """
    cost = f"speedup_{config.cost}"
    result = []

    def best_of_front(speedup: float) -> int | None:
        # The front is ordered by falling search quality: the first that is fast enough is the best.
        fast = (index for index, row in enumerate(rows) if row["kind"] == "front" and row[cost] >= speedup)
        return next(fast, None)

    def add(how: str, speedup: float, ours: int, rivals: Sequence[int], measure: str) -> None:
        if not rivals:
            return
        rival = max(rivals, key=lambda index: float(rows[index]["quality"]))
        paired = paired_interval(
            outcomes[ours].scores, outcomes[rival].scores, config.heldout_seeds_per_prompt
        )
        result.append(
            {
                "how": how,
                "speedup": speedup,
                "measure": measure.removeprefix("speedup_"),
                "front": rows[ours]["name"],
                "front_speedup": rows[ours][measure],
                "rival": rows[rival]["name"],
                "rival_speedup": rows[rival][measure],
                "difference": paired.mean,
                "difference_interval": [paired.low, paired.high],
            }
        )

    def of_kind(kind: str, measure: str, least: float) -> list[int]:
        return [index for index, row in enumerate(rows) if row["kind"] == kind and row[measure] >= least]

    for level in LEVELS:
        ours = best_of_front(level)
        if ours is not None:
            latency = rows[ours]["speedup_latency"]
            fewer = of_kind("fewer-steps", "speedup_latency", latency * (1 - _EQUAL))
            add("level", level, ours, of_kind("heuristic", cost, level), cost)
            add("same latency", level, ours, fewer, "speedup_latency")
    for index in of_kind("heuristic", cost, 1.0):
        ours = best_of_front(rows[index][cost] * (1 - _EQUAL))
        if ours is not None:
            add("same cost", rows[index][cost], ours, [index], cost)
    return result
