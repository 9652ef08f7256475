"""Variation operators on bit vectors, for pymoo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.util.misc import crossover_mask

from ecad.schedule import GeneLayout


class MultiPointCrossover(Crossover):  # type: ignore[misc]
    """Crossover at a random number of points, `fewest` to `most`, drawn for each pair of parents.

    For half of the pairs the points lie between steps: the children take some ranges of steps from one parent and
    the others from the other, in all block lists alike. Else they lie between any two genes.
    """

    def __init__(self, fewest: int, most: int, prob: float, layout: GeneLayout) -> None:
        super().__init__(2, 2, prob=prob)
        self.fewest = fewest
        self.most = most
        self._steps = layout.steps - 1

    def _do(
        self, problem: Any, parents: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`parents` has shape (2, matings, genes); so have the children."""
        _, matings, genes = parents.shape
        swap = np.zeros((matings, genes), dtype=np.bool_)
        for mating in range(matings):
            if random_state.random() < 0.5:
                swap[mating] = self._ranges(int(self._steps.max()) + 1, random_state)[self._steps]
            else:
                swap[mating] = self._ranges(genes, random_state)
        children: np.ndarray = crossover_mask(parents, swap)
        return children

    def _ranges(self, places: int, random_state: np.random.Generator) -> np.ndarray:
        """Every second range between random cuts, as bool array of shape (places,)."""
        chosen = np.zeros(places, dtype=np.bool_)
        wanted = int(random_state.integers(self.fewest, self.most + 1))
        cuts = np.sort(random_state.choice(places - 1, size=min(wanted, places - 1), replace=False) + 1)
        for start, stop in zip(cuts[::2], [*cuts[1::2], places], strict=False):
            chosen[start:stop] = True
        return chosen


class ScheduleMutation(Mutation):  # type: ignore[misc]
    """Changes a schedule in one of three ways, drawn for each child.

    Shift (half of the children): a recomputation moves to the step before or after, once or twice.
    Flip of groups (three in ten): what most of a group is, all of it becomes the opposite.
    Flip of genes (one in five): single entries become the opposite.
    The first two act on whole steps more often than on one component of a step (in all blocks of a list). Which
    steps are recomputed matters more than anything else, and no flip of bits moves a step at equal cost.

    Flips hit a share `rate` of all bits on average (but at least one group), half of them ones and half zeros:
    plain bit flips would drive every sparse (cheap) genome towards half ones, and nearly all of their children
    would be more costly.
    """

    def __init__(self, rate: float, layout: GeneLayout) -> None:
        super().__init__(prob=1.0)
        self.rate = rate
        self._layout = layout

    def _do(
        self, problem: Any, genomes: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`genomes` has shape (children, genes); so has the result."""
        children: np.ndarray = genomes.copy()
        for child in children:
            groups = self._layout.steps - 1 if random_state.random() < 0.65 else self._layout.groups
            draw = random_state.random()
            if draw < 0.5 and self._shift(child, groups, random_state):
                continue
            if draw < 0.8:
                self._flip_groups(child, groups, random_state)
            else:
                child ^= self._flips(child, random_state)
        return children

    def _shift(self, child: np.ndarray, groups: np.ndarray, random_state: np.random.Generator) -> bool:
        """Move recomputations by one step, in place; False if there is none that could move."""
        earlier = np.flatnonzero(self._layout.next_step >= 0)
        later = self._layout.next_step[earlier]
        for _ in range(int(random_state.integers(1, 3))):
            differs = np.flatnonzero(child[earlier] != child[later])
            if len(differs) == 0:
                return False
            # A gene that can move, drawn at random, says which group; busy ones are drawn more often.
            moves = groups[earlier] == groups[earlier[random_state.choice(differs)]]
            child[earlier[moves]], child[later[moves]] = child[later[moves]], child[earlier[moves]]
        return True

    def _flip_groups(self, child: np.ndarray, groups: np.ndarray, random_state: np.random.Generator) -> None:
        majority = np.bincount(groups, weights=child) > np.bincount(groups) / 2
        chosen = self._flips(majority, random_state)
        if not chosen.any():
            chosen[random_state.integers(len(chosen))] = True
        flipped = chosen[groups]
        child[flipped] = ~majority[groups][flipped]

    def _flips(self, bits: np.ndarray, random_state: np.random.Generator) -> np.ndarray:
        """Which of the bits, shape (bits,), to flip."""
        ones = float(np.clip(bits.mean(), 0.02, 0.98))
        probability = np.where(bits, self.rate / (2 * ones), self.rate / (2 * (1 - ones)))
        flips: np.ndarray = random_state.random(bits.shape) < probability.clip(max=1.0)
        return flips


class Unread(Repair):  # type: ignore[misc]
    """Genes that are not read are 0, so that equal schedules have equal genomes."""

    def __init__(self, layout: GeneLayout) -> None:
        super().__init__()
        self._switch = layout.switch

    def _do(self, problem: Any, genomes: np.ndarray, **kwargs: Any) -> np.ndarray:
        """`genomes` has shape (children, genes); so has the result."""
        repaired: np.ndarray = genomes & genomes[:, self._switch]
        return repaired


class UnseenOnly(DuplicateElimination):  # type: ignore[misc]
    """Drops genomes that were asked for before, ever, or that occur twice in the offspring."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    def _do(self, pop: Population, other: Population | None, is_duplicate: np.ndarray) -> np.ndarray:
        # pymoo asks once for the offspring itself and once against each other population; those others hold
        # either genomes that are in `seen` or the offspring collected so far in the same generation.
        known = set(self.seen) if other is None else {genome.tobytes() for genome in other.get("X")}
        for index, genome in enumerate(pop.get("X")):
            key = genome.tobytes()
            if key in known:
                is_duplicate[index] = True
            elif other is None:
                known.add(key)
        return is_duplicate


@dataclass(frozen=True)
class Variation:
    """How children are made of parents: the only place where operators are built. `layout` says what genes mean."""

    layout: GeneLayout
    crossover_points: tuple[int, int] = (2, 4)  # fewest, most
    crossover_probability: float = 0.9
    mutation_rate: float = 0.02

    def crossover(self) -> Crossover:
        fewest, most = self.crossover_points
        return MultiPointCrossover(fewest, most, prob=self.crossover_probability, layout=self.layout)

    def mutation(self) -> Mutation:
        return ScheduleMutation(self.mutation_rate, self.layout)

    def algorithm(self, unseen: UnseenOnly, **settings: Any) -> NSGA2:
        """pymoo's NSGA-II with these operators, for every search that this package has."""
        return NSGA2(
            crossover=self.crossover(),
            mutation=self.mutation(),
            repair=Unread(self.layout),
            eliminate_duplicates=unseen,
            **settings,
        )
