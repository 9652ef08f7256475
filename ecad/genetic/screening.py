"""Many children are made, and those of which a model of the answers so far expects the most are asked for.

An evaluation costs images; a child costs nothing. The model (a Gaussian process) predicts quality from what a
calibration says of the errors that a schedule makes, the costs are known exactly. One child in three is asked for
whatever the model thinks of it: where the model is wrong, the search is still one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pymoo.core.population import Population

from ecad.arrays import BoolArray, FloatArray
from ecad.genetic.base import Objectives
from ecad.genetic.front import hypervolume, nondominated
from ecad.genetic.surrogate import GaussianProcess

# Genomes (n, genes) -> the objective of cost (n,), exactly, and features (n, d) from which quality can be predicted.
Describe = Callable[[BoolArray], tuple[FloatArray, FloatArray]]

# Children made per child that is asked for, and how many of the latter are not screened: one in so many.
_CHILDREN = 12
_UNSCREENED = 3

# The benefit of the doubt, in standard deviations of a prediction.
_DOUBT = 0.5

# With fewer answers the model would know nothing; with more, the newest are enough.
_FEWEST_ANSWERS, _MOST_ANSWERS = 12, 600


class Screening:
    """Knows all answers, and ranks children by what they would add to the front."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._costs: list[float] = []
        self._losses: list[float] = []  # the objective of quality, to be minimised
        self._features: list[FloatArray] = []

    def tell(self, genomes: BoolArray, objectives: Objectives) -> None:
        """The answers to genomes, shapes (n, genes) and (n, 2)."""
        if len(genomes) == 0:
            return
        _, features = self._describe(genomes)
        self._costs += objectives[:, 0].tolist()
        self._losses += objectives[:, 1].tolist()
        self._features += list(features)

    def choose(self, children: BoolArray, count: int) -> list[int]:
        """Indices of `count` of the children (n, genes): greedily those that add most to the front's hypervolume."""
        losses = np.array(self._losses)
        known = np.isfinite(losses) & np.isfinite(self._costs)
        if len(children) <= count or known.sum() < _FEWEST_ANSWERS:
            return list(range(min(count, len(children))))
        unscreened = [index for index in range(count) if index % _UNSCREENED == _UNSCREENED - 1]
        # Failures and what was below the limit count as the worst that was seen.
        losses = np.where(known, losses, losses[known].max())
        model = GaussianProcess.fit(np.stack(self._features[-_MOST_ANSWERS:]), losses[-_MOST_ANSWERS:])
        described, features = self._describe(children)
        costs = described.tolist()
        means, deviations = model.predict(features)
        hopes = (means - _DOUBT * deviations).clip(min=losses.min()).tolist()
        points = list(zip(np.array(self._costs)[known].tolist(), losses[known].tolist(), strict=True))
        reference = max(point[0] for point in points), max(point[1] for point in points)
        left = [index for index in range(len(children)) if index not in unscreened]
        chosen = list(unscreened)
        while len(chosen) < count and left:
            gains = _gains(points, [(costs[index], hopes[index]) for index in left], reference)
            if max(gains) > 0:
                best = left[int(np.argmax(gains))]
            else:  # nothing is expected to add anything: those that come nearest
                best = min(left, key=lambda index: _behind(points, costs[index], hopes[index]))
            chosen.append(best)
            left.remove(best)
            points.append((costs[best], hopes[best]))
        return sorted(chosen)


class ScreenedMating:
    """pymoo's mating, with children to choose from."""

    def __init__(self, mating: Any, screening: Screening) -> None:
        self._mating = mating
        self._screening = screening

    def do(self, problem: Any, population: Population, count: int, **settings: Any) -> Population:
        """`count` children of the population."""
        children = self._mating.do(problem, population, _CHILDREN * count, **settings)
        if len(children) <= count:
            return children
        return children[self._screening.choose(children.get("X").astype(np.bool_), count)]


def _gains(
    points: list[tuple[float, float]], candidates: list[tuple[float, float]], reference: tuple[float, float]
) -> list[float]:
    """What each candidate alone would add to the hypervolume of the points; both objectives are minimised."""

    def volume(given: list[tuple[float, float]]) -> float:
        costs, losses = zip(*given, strict=True)
        return hypervolume(costs, [-loss for loss in losses], reference[0], -reference[1])

    front = [points[index] for index in nondominated([p[0] for p in points], [-p[1] for p in points])]
    before = volume(front)
    return [volume([*front, candidate]) - before for candidate in candidates]


def _behind(points: list[tuple[float, float]], cost: float, loss: float) -> float:
    """By how much a loss exceeds the smallest one that costs no more."""
    return float(loss - min((known for dearer, known in points if dearer <= cost), default=loss))
