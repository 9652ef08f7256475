"""What the rows of a held-out report say together: hypervolumes, and who beats whom at equal cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecad.genetic import hypervolume
from ecad.measuring.measurements import Outcome
from ecad.measuring.rows import Kind, Measure, Row
from ecad.measuring.statistics import paired_interval
from ecad.report.search_report import Versus, Volumes
from ecad.searching.settings import ResolvedSearchSettings

# Speedups at which the front is compared with the best of the others.
LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0)

# How much less (relatively) a speedup may be and still count as equal.
_EQUAL = 0.02

_BOOTSTRAP_RESAMPLES = 2000


def hypervolumes(
    settings: ResolvedSearchSettings, rows: Sequence[Row], outcomes: Sequence[Outcome]
) -> Volumes:
    """Held-out hypervolumes in the run's own cost, and the intervals of front minus heuristics and minus all rivals.

    The reference is cost 1 and the worst row's quality. The front counts as the search ordered it: which of its
    schedules is the best at a cost was decided on the search prompts, so lucky held-out scores do not help it.
    The others may choose by their held-out scores, which favours them.
    """
    scores = np.stack([outcome.scores for outcome in outcomes])  # (rows, images)
    by_prompt = scores.reshape(len(rows), -1, settings.heldout_seeds_per_prompt).mean(axis=2)
    reference = float(by_prompt.mean(axis=1).min())
    members = {
        kind: [index for index, row in enumerate(rows) if row.kind in (kind, Kind.UNCACHED)]
        for kind in (Kind.FRONT, Kind.HEURISTIC, Kind.FEWER_STEPS)
    }
    rivals = sorted({*members[Kind.HEURISTIC], *members[Kind.FEWER_STEPS]})
    costs = {
        kind: [1.0 / rows[index].speedup(settings.reported_cost) for index in chosen]
        for kind, chosen in members.items()
    }
    rival_costs = [1.0 / rows[index].speedup(settings.reported_cost) for index in rivals]

    def rival_volume(qualities: np.ndarray) -> float:
        return hypervolume(rival_costs, [float(qualities[index]) for index in rivals], 1.0, reference)

    def volumes(qualities: np.ndarray) -> dict[Kind, float]:
        result = {}
        for kind, chosen in members.items():
            values = [float(qualities[index]) for index in chosen]
            area = _ordered_area if kind is Kind.FRONT else hypervolume
            result[kind] = area(costs[kind], values, 1.0, reference)
        return result

    rng = np.random.default_rng(0)
    differences = []
    for _ in range(_BOOTSTRAP_RESAMPLES):
        picks = rng.integers(by_prompt.shape[1], size=by_prompt.shape[1])
        qualities = by_prompt[:, picks].mean(axis=1)
        resampled = volumes(qualities)
        front = resampled[Kind.FRONT]
        differences.append((front - resampled[Kind.HEURISTIC], front - rival_volume(qualities)))
    (low, lower), (high, upper) = np.quantile(differences, [0.025, 0.975], axis=0).tolist()
    means = by_prompt.mean(axis=1)
    return Volumes(
        settings.reported_cost, reference, volumes(means), (low, high), rival_volume(means), (lower, upper)
    )


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
    settings: ResolvedSearchSettings, rows: Sequence[Row], outcomes: Sequence[Outcome]
) -> list[Versus]:
    """The front against heuristics and fewer steps, paired on the same held-out images.

    "level": who must be at least so much faster takes the front's schedule that is best in the search among those
    (the choice does not look at held-out scores), or the heuristic, and the way of fewer steps, that is best on the
    held-out prompts, which favours those. "same cost": against each single rival, the front's schedule that costs no
    more, or hardly (`_EQUAL`).
    "same latency": against fewer steps, at the measured latency of the level's schedule.
    """
    cost = settings.reported_cost
    quality = [next(iter(row.metrics.values())).mean for row in rows]
    result: list[Versus] = []

    def best_of_front(speedup: float) -> int | None:
        # The front is ordered by falling search quality: the first that is fast enough is the best.
        return next(iter(of_kind(Kind.FRONT, cost, speedup)), None)

    def add(how: str, speedup: float, ours: int, rivals: Sequence[int], measure: Measure) -> None:
        if not rivals:
            return
        rival = max(rivals, key=quality.__getitem__)
        paired = paired_interval(
            outcomes[ours].scores, outcomes[rival].scores, settings.heldout_seeds_per_prompt
        )
        result.append(
            Versus(
                how=how,
                speedup=speedup,
                measure=measure,
                front=rows[ours].name,
                front_speedup=rows[ours].speedup(measure),
                rival=rows[rival].name,
                rival_speedup=rows[rival].speedup(measure),
                difference=paired.mean,
                difference_interval=(paired.low, paired.high),
            )
        )

    def of_kind(kind: Kind, measure: Measure, least: float) -> list[int]:
        return [index for index, row in enumerate(rows) if row.kind is kind and row.speedup(measure) >= least]

    for level in LEVELS:
        ours = best_of_front(level)
        if ours is not None:
            latency = rows[ours].speedup("latency")
            fewer = of_kind(Kind.FEWER_STEPS, "latency", latency * (1 - _EQUAL))
            add("level", level, ours, of_kind(Kind.HEURISTIC, cost, level), cost)
            add("level", level, ours, of_kind(Kind.FEWER_STEPS, cost, level), cost)
            add("same latency", level, ours, fewer, "latency")
    for index in [*of_kind(Kind.HEURISTIC, cost, 1.0), *of_kind(Kind.FEWER_STEPS, cost, 1.0)]:
        ours = best_of_front(rows[index].speedup(cost) * (1 - _EQUAL))
        if ours is not None:
            add("same cost", rows[index].speedup(cost), ours, [index], cost)
    return result
