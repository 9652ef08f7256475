"""Pareto fronts of cost against quality: which points are on one, and how much it covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

# Of the quality between the cheapest schedule's and the best one's: the shares between which a search tells schedules
# apart (above is as good as lossless, and differences are luck), and the share below which one is of no use to anybody.
AIMED_SHARES = (0.75, 0.995)
USEFUL_SHARE = 0.6


def nondominated(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Indices of the front, cheapest first: no other point is at most as costly and better, or as good and
    cheaper. Of equal points the first one stays; points with a NaN or an infinity are never on the front.
    """
    finite = [
        index
        for index, (cost, quality) in enumerate(zip(costs, qualities, strict=True))
        if np.isfinite(cost) and np.isfinite(quality)
    ]
    # Cheapest first, among equals the best first: then a point is on the front if it beats all before it.
    ordered = sorted(finite, key=lambda index: (costs[index], -qualities[index], index))
    front: list[int] = []
    best_quality = -np.inf
    for index in ordered:
        if qualities[index] > best_quality:
            front.append(index)
            best_quality = qualities[index]
    return front


def spread_out(front: Sequence[int], costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """The indices of a front, such that its first n are spread over its costs, for any n; both ends come first.

    From the last on: of the two that are nearest to each other, by the ratio of their costs, the one whose loss would
    take less from the area under the front (in log cost).
    """

    def area(left: Sequence[int], place: int) -> float:
        cheaper, own, dearer = left[place - 1 : place + 2]
        return math.log(costs[dearer] / costs[own]) * (qualities[own] - qualities[cheaper])

    return _spread_out(front, costs, area)


def spread_by_doubt(indices: Iterable[int], costs: Sequence[float], doubts: Mapping[int, float]) -> list[int]:
    """Any indices, such that the first n are spread over the costs as those of `spread_out` are: of the two that are
    nearest to each other the one that is more in doubt comes later, also if it is the dearest or the cheapest."""
    return _spread_out(indices, costs, lambda left, place: -doubts[left[place]], keeps_ends=False)


def _spread_out(
    indices: Iterable[int],
    costs: Sequence[float],
    worth: Callable[[Sequence[int], int], float],
    keeps_ends: bool = True,
) -> list[int]:
    """The last one is, of the two nearest to each other, what is worth less at its place, and so on."""
    left = sorted(indices, key=lambda index: costs[index])
    dropped: list[int] = []
    while len(left) > 2:
        gaps = [costs[dearer] / costs[cheaper] for cheaper, dearer in pairwise(left)]
        nearest = gaps.index(min(gaps))
        both = (nearest, nearest + 1)
        droppable = [place for place in both if not keeps_ends or 0 < place < len(left) - 1]
        dropped.append(left.pop(min(droppable, key=lambda place: worth(left, place))))
    return [*left, *reversed(dropped)]


def hypervolume(
    costs: Sequence[float], qualities: Sequence[float], reference_cost: float, reference_quality: float
) -> float:
    """Area dominated by the points and bounded by a reference point that is worse in both.

    Cost is minimised, quality maximised; points beyond the reference contribute nothing. In two dimensions it
    is the sum of the rectangles between neighbours of the sorted front.
    """
    area = 0.0
    covered_up_to = reference_quality
    for index in nondominated(costs, qualities):
        cost, quality = costs[index], qualities[index]
        if cost >= reference_cost or quality <= covered_up_to:
            continue
        area += (reference_cost - cost) * (quality - covered_up_to)
        covered_up_to = quality
    return area


class FrontTracker:
    """The front of all points seen so far, and its hypervolume.

    The reference is cost 1 (recompute everything) and the quality of the cheapest point: a search starts with
    the schedule that recomputes step 0 only, which is the cheapest of all, so the reference is the worst
    sensible point whatever the unit of quality is.
    """

    def __init__(self) -> None:
        self._costs: list[float] = []
        self._qualities: list[float] = []

    def add(self, cost: float, quality: float) -> None:
        costs, qualities = [*self._costs, cost], [*self._qualities, quality]
        keep = nondominated(costs, qualities)
        self._costs = [costs[index] for index in keep]
        self._qualities = [qualities[index] for index in keep]

    def quality_at(self, share: float) -> float:
        """The quality that has lost all but this share of what separates the extremes.

        The extremes are the cheapest and the best point; both are known from the first generation on.
        """
        if not self._qualities:
            return -np.inf
        worst, best = self._qualities[0], self._qualities[-1]
        return worst + share * (best - worst)

    @property
    def points(self) -> list[tuple[float, float]]:
        """(cost, quality) of the front, cheapest first."""
        return list(zip(self._costs, self._qualities, strict=True))

    @property
    def hypervolume(self) -> float:
        if not self._costs:
            return 0.0
        return hypervolume(self._costs, self._qualities, 1.0, self._qualities[0])
