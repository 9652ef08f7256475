"""Many children are made, and those of which a model of the answers so far expects the most are asked for.

An evaluation costs images; a child costs nothing. The model (a Gaussian process) predicts quality from what a
calibration says of the errors that a schedule makes, the costs are known exactly. One child in six is asked for
whatever the model thinks of it: where the model is wrong, the search is still one.

The model is one of the losses' square roots: its error in losses is larger than what separates good schedules. Every
other child is chosen by what it would add to the front in square roots, where .16 instead of .25 is worth as much as
none instead of .01; the others by what they would add in losses, most of which is where images are nearly ruined.

Children are of several kinds: whole steps, whole components, single blocks. The model knows least of the finest, so
that most of them look promising. Each kind gets a share of the questions that goes by how many of its children have
reached the front lately.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from pymoo.core.population import Population

from ecad.arrays import BoolArray, FloatArray, IntArray
from ecad.genetic.base import Objectives
from ecad.genetic.front import nondominated
from ecad.genetic.surrogate import GaussianProcess

# Genomes (n, genes) -> the objective of cost (n,), exactly, and features (n, d) from which quality can be predicted.
Describe = Callable[[BoolArray], tuple[FloatArray, FloatArray]]

# Genomes (n, genes) -> their kind, a small number each (n,).
KindsOf = Callable[[BoolArray], IntArray]

# Children made per child that is asked for, and how many of the latter are not screened: one in so many.
_CHILDREN = 40
_UNSCREENED = 6

# The benefit of the doubt, in standard deviations of a prediction, and the power of the loss's square root that counts:
# in turn, from what is likely to what is possible.
_VIEWS = ((0.0, 1), (0.5, 2), (1.0, 1), (0.0, 2), (0.5, 1), (1.0, 2))

# Further benefits of the doubt, tried in turn where no child would add anything with the view's own.
_FURTHER_DOUBTS = (1.0, 2.0, 4.0)

# What an answer still counts in the kinds' shares after one more: half of it after about twenty.
_MEMORY = 0.97

# The model is told of a failure at most so many times the loss of the worst schedule that is none.
_WORSE = 2.0

# With fewer answers the model would know nothing; with more, the newest are enough.
_FEWEST_ANSWERS, _MOST_ANSWERS = 12, 600


class Screening:
    """Knows all answers, and ranks children by what they would add to the front."""

    def __init__(self, describe: Describe, kinds_of: KindsOf | None = None) -> None:
        self.describe = describe
        self._kinds_of = kinds_of or _one_kind
        # By kind: the answers, and those that were on the front when they came; older ones count less.
        self._asked: dict[int, float] = defaultdict(float)
        self._on_front: dict[int, float] = defaultdict(float)
        self._costs: list[float] = []
        self._losses: list[float] = []  # the objective of quality, to be minimised
        self._features: list[FloatArray] = []
        self._fitted: tuple[int, GaussianProcess] | None = None  # to so many answers

    def tell(self, genomes: BoolArray, objectives: Objectives) -> None:
        """The answers to genomes, shapes (n, genes) and (n, 2)."""
        if len(genomes) == 0:
            return
        _, features = self.describe(genomes)
        self._count(self._kinds_of(genomes), objectives)
        self._costs += objectives[:, 0].tolist()
        self._losses += objectives[:, 1].tolist()
        self._features += list(features)

    def choose(self, children: BoolArray, count: int) -> list[int]:
        """Indices of `count` of the children (n, genes): greedily those that add most to the front's hypervolume."""
        model = self._model()
        if len(children) <= count or model is None:
            return list(range(min(count, len(children))))
        unscreened = [index for index in range(count) if index % _UNSCREENED == _UNSCREENED - 1]
        known = self._known
        losses = _root_losses(np.array(self._losses), known)
        costs, features = self.describe(children)
        means, deviations = model.predict(features)
        # The best answers were partly lucky: what is asked for next must be better than what the model makes of them.
        # Where nothing is lost there is nothing to gain.
        believed, _ = model.predict(np.stack(self._features)[known])
        believed = np.where(losses[known] > 0.0, believed.clip(min=0.0), 0.0)
        points = list(zip(np.array(self._costs)[known].tolist(), believed.tolist(), strict=True))
        reference = max(point[0] for point in points), max(point[1] for point in points)
        chosen = list(unscreened)
        is_left = np.ones(len(children), dtype=np.bool_)
        is_left[chosen] = False
        kinds, taken = self._kinds_of(children), Counter[int]()
        while len(chosen) < count and is_left.any():
            kind = self._whose_turn(set(kinds[is_left].tolist()), taken)
            view = _VIEWS[taken[kind] % len(_VIEWS)]
            best, hoped = _most_promising(
                np.flatnonzero(is_left & (kinds == kind)), costs, means, deviations, points, reference, view
            )
            taken[kind] += 1
            chosen.append(best)
            is_left[best] = False
            points.append((float(costs[best]), hoped))
        return sorted(chosen)

    def predict(self, genomes: BoolArray) -> Objectives | None:
        """Objectives of cost, exactly, and the expected square roots of what is lost against the best: shape (n, 2).

        None as long as there are too few answers for a model.
        """
        model = self._model()
        if model is None:
            return None
        costs, features = self.describe(genomes)
        return np.stack([costs, model.predict(features)[0].clip(min=0.0)], axis=1)

    @property
    def _known(self) -> BoolArray:
        """Which of the answers are no failures."""
        return np.isfinite(self._losses) & np.isfinite(self._costs)

    def _model(self) -> GaussianProcess | None:
        """Of all answers; None if they are too few."""
        known = self._known
        if known.sum() < _FEWEST_ANSWERS:
            return None
        if self._fitted is None or self._fitted[0] != len(self._losses):
            losses = _root_losses(np.array(self._losses), known)
            model = GaussianProcess.fit(np.stack(self._features[-_MOST_ANSWERS:]), losses[-_MOST_ANSWERS:])
            self._fitted = len(self._losses), model
        return self._fitted[1]

    def _count(self, kinds: IntArray, objectives: Objectives) -> None:
        """How many of these genomes are better than everything before that cost no more."""
        known = [
            (cost, loss)
            for cost, loss in zip(self._costs, self._losses, strict=True)
            if np.isfinite(cost) and np.isfinite(loss)
        ]
        if len(known) < _FEWEST_ANSWERS:
            return
        for kind, (cost, loss) in zip(kinds.tolist(), objectives.tolist(), strict=True):
            rivals = [each for known_cost, each in known if known_cost <= cost]
            for numbers in (self._asked, self._on_front):
                for each in numbers:
                    numbers[each] *= _MEMORY
            self._asked[kind] += 1
            self._on_front[kind] += bool(np.isfinite(cost)) and loss < min(rivals, default=np.inf)

    def _whose_turn(self, kinds: set[int], taken: Counter[int]) -> int:
        """The kind, of those that are left, that is farthest behind its share; as if one of two had been successful."""
        rates = {kind: (self._on_front[kind] + 1) / (self._asked[kind] + 2) for kind in sorted(kinds)}
        questions = sum(taken[kind] for kind in rates) + 1
        total = sum(rates.values())
        return max(rates, key=lambda kind: questions * rates[kind] / total - taken[kind])


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


def _most_promising(
    candidates: IntArray,
    costs: FloatArray,
    means: FloatArray,
    deviations: FloatArray,
    points: list[tuple[float, float]],
    reference: tuple[float, float],
    view: tuple[float, int],
) -> tuple[int, float]:
    """Which of the `candidates`, indices of children, would add most to the front, and what it is hoped to lose.

    With the view's benefit of the doubt; where then none would add anything, with more: the one of which it would
    surprise least. If that does not help either, the one that comes nearest.
    """
    doubt, power = view
    raised = [(cost, loss**power) for cost, loss in points]
    for more in (doubt, *(each for each in _FURTHER_DOUBTS if each > doubt)):
        hoped = (means[candidates] - more * deviations[candidates]).clip(min=0.0)
        gains = _gains(raised, costs[candidates], hoped**power, (reference[0], reference[1] ** power))
        best = int(np.argmax(gains))
        if gains[best] > 0:
            return int(candidates[best]), float(hoped[best])
    behind = [
        _behind(points, float(costs[each]), float(loss), reference[1])
        for each, loss in zip(candidates, hoped, strict=True)
    ]
    best = int(np.argmin(behind))
    return int(candidates[best]), float(hoped[best])


def _one_kind(genomes: BoolArray) -> IntArray:
    return np.zeros(len(genomes), dtype=np.int64)


def _root_losses(losses: FloatArray, known: BoolArray) -> FloatArray:
    """Square roots of what is lost against the best.

    What is not `known` counts as at least the worst that is, and as at most `_WORSE` times that: how far below the
    limit something was tells where the limit is, but not more. Failures without a loss count as the latter.
    """
    best = losses[known].min()
    worst = losses[known].max() - best
    lost = np.where(np.isfinite(losses), losses - best, np.inf)
    return np.asarray(np.sqrt(np.where(known, lost, lost.clip(worst, _WORSE * worst))))


def _gains(
    points: list[tuple[float, float]], costs: FloatArray, losses: FloatArray, reference: tuple[float, float]
) -> FloatArray:
    """What each candidate, given by `costs` and `losses` of shape (n,), alone would add to the hypervolume of the
    points; both objectives are minimised."""
    front = [points[index] for index in nondominated([p[0] for p in points], [-p[1] for p in points])]
    front = [point for point in front if point[0] < reference[0]]
    # Between one cost of the front and the next the smallest loss is that of the former, below all of them the worst.
    edges = np.array([-np.inf, *(cost for cost, _ in front), reference[0]])
    smallest = np.array([reference[1], *(loss for _, loss in front)]).clip(max=reference[1])
    widths = (edges[1:] - np.maximum(edges[:-1], costs[:, None])).clip(min=0.0)
    gains: FloatArray = (widths * (smallest - losses[:, None]).clip(min=0.0)).sum(axis=1)
    return gains


def _behind(points: list[tuple[float, float]], cost: float, loss: float, worst: float) -> float:
    """By how much a loss exceeds the smallest one that costs no more; where nothing does, the `worst` that counts."""
    return float(loss - min((known for known_cost, known in points if known_cost <= cost), default=worst))
