"""Variation operators on bit vectors, for pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.util.misc import crossover_mask


class MultiPointCrossover(Crossover):  # type: ignore[misc]
    """Crossover at a random number of points, `fewest` to `most`, drawn for each pair of parents."""

    def __init__(self, fewest: int, most: int, prob: float) -> None:
        super().__init__(2, 2, prob=prob)
        self.fewest = fewest
        self.most = most

    def _do(
        self, problem: Any, parents: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`parents` has shape (2, matings, genes); so have the children."""
        _, matings, genes = parents.shape
        swap = np.zeros((matings, genes), dtype=np.bool_)
        for mating in range(matings):
            wanted = random_state.integers(self.fewest, self.most + 1)
            count = min(int(wanted), genes - 1)
            cuts = np.sort(random_state.choice(genes - 1, size=count, replace=False) + 1)
            for start, stop in zip(cuts[::2], [*cuts[1::2], genes], strict=False):
                swap[mating, start:stop] = True
        children: np.ndarray = crossover_mask(parents, swap)
        return children


class BalancedBitflip(Mutation):  # type: ignore[misc]
    """Flips genes with a probability that keeps the expected number of ones.

    A share `rate` of all genes flips on average, half of them ones and half zeros. Plain bit flips would drive
    every sparse (cheap) genome towards half ones, and nearly all of their offspring would be more costly.

    Half of the offspring flip gene by gene, the other half by group (a component in all blocks at one step):
    every gene of a group then becomes the opposite of what most of the group is. `groups` has shape (genes,)
    and holds group numbers from 0.
    """

    def __init__(self, rate: float, groups: np.ndarray) -> None:
        super().__init__(prob=1.0)
        self.rate = rate
        self._groups = groups
        self._group_sizes = np.bincount(groups)

    def _do(
        self, problem: Any, genomes: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`genomes` has shape (offspring, genes); so has the result."""
        mutated: np.ndarray = genomes ^ self._flips(genomes, random_state)
        majority = (
            np.stack([np.bincount(self._groups, weights=row) for row in genomes]) > self._group_sizes / 2
        )
        chosen = self._flips(majority, random_state)[:, self._groups]
        by_group = np.where(chosen, ~majority[:, self._groups], genomes)
        takes_groups = random_state.random((len(genomes), 1)) < 0.5
        return np.where(takes_groups, by_group, mutated)

    def _flips(self, bits: np.ndarray, random_state: np.random.Generator) -> np.ndarray:
        """Which of the bits (offspring, bits) to flip."""
        ones = np.clip(bits.mean(axis=1, keepdims=True), 0.02, 0.98)
        probability = np.where(bits, self.rate / (2 * ones), self.rate / (2 * (1 - ones)))
        flips: np.ndarray = random_state.random(bits.shape) < probability.clip(max=1.0)
        return flips


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
