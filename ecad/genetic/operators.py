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

from ecad.genetic.granularity import COARSE_POPULATIONS, Granularity, Levels, coarsened
from ecad.genetic.screening import ScreenedMating, Screening
from ecad.schedule import GeneLayout

_MOVES = 0.6  # of the changes of groups; the others are flips
_FORMS = 0.15  # of the changes of whole steps, tried first: whether anything runs where nothing is recomputed


class MultiPointCrossover(Crossover):  # type: ignore[misc]
    """Crossover at a random number of points, `fewest` to `most`, drawn for each pair of parents.

    For half of the pairs, and for all while the search is over whole steps, the points lie between steps: the children
    take some ranges of steps from one parent and the others from the other, in all block lists alike. Else they lie
    between any two genes.
    """

    def __init__(self, fewest: int, most: int, prob: float, layout: GeneLayout, levels: Levels) -> None:
        super().__init__(2, 2, prob=prob)
        self.fewest = fewest
        self.most = most
        self._steps = layout.steps - 1
        self._levels = levels

    def _do(
        self, problem: Any, parents: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`parents` has shape (2, matings, genes); so have the children."""
        _, matings, genes = parents.shape
        swap = np.zeros((matings, genes), dtype=np.bool_)
        for mating in range(matings):
            if self._levels.draw(random_state) == "steps":
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
    """Changes whole steps of a schedule, components of steps in all blocks of a list, or single genes.

    Which of them is drawn for each child (`Levels`). The first two are moves more often than flips (what most of a
    group is, all of it becomes the opposite): no flip moves a step at equal cost. A recomputation moves to the step
    before or after, once or twice, or a whole step to any place between its neighbours. What is to be recomputed in a
    step in which nothing ran lets that step run. In a step that recomputes nothing, what surrounds the blocks may still
    run: one such step is changed to that or back, or all of them; a new one becomes like most of the others.

    Flips hit a share `rate` of all bits on average (but at least one group), half of them ones and half zeros:
    plain bit flips would drive every sparse (cheap) genome towards half ones, and nearly all of their children
    would be more costly.
    """

    def __init__(self, rate: float, layout: GeneLayout, levels: Levels) -> None:
        super().__init__(prob=1.0)
        self.rate = rate
        self._layout = layout
        self._levels = levels
        is_another = layout.switch != np.arange(len(layout.switch))
        self._switches = np.unique(layout.switch[is_another])

    def _do(
        self, problem: Any, genomes: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        """`genomes` has shape (children, genes); so has the result."""
        children: np.ndarray = genomes.copy()
        for child in children:
            level = self._levels.draw(random_state)
            child &= child[self._layout.switch]  # crossover leaves genes that are not read
            before = child.copy()
            if level == "blocks":
                child ^= self._flips(child, random_state)
            else:
                groups = self._layout.steps - 1 if level == "steps" else self._layout.groups
                moves = self._move if level == "steps" and random_state.random() < 0.5 else self._shift
                if (
                    level == "steps"
                    and random_state.random() < _FORMS
                    and self._change_form(child, random_state)
                ):
                    continue
                if random_state.random() >= _MOVES or not moves(child, groups, random_state):
                    self._flip_groups(child, groups, random_state)
            child[self._layout.switch[child & ~before]] = True
            if level == "steps":
                self._keep_form(child, before)
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

    def _move(self, child: np.ndarray, groups: np.ndarray, random_state: np.random.Generator) -> bool:
        """Change places, in place, of a step that recomputes and one between its neighbours that does not."""
        runs = np.bincount(groups, weights=child) > np.bincount(groups) / 2
        running = np.flatnonzero(runs)
        if len(running) == 0:
            return False
        chosen = int(random_state.integers(len(running)))
        # Of step 0, which always runs, there are no genes: group 0 is step 1.
        low = running[chosen - 1] + 1 if chosen > 0 else 0
        high = running[chosen + 1] if chosen + 1 < len(running) else len(runs)
        places = [place for place in range(low, high) if place != running[chosen]]
        if not places:
            return False
        here, there = (
            np.flatnonzero(groups == step) for step in (running[chosen], random_state.choice(places))
        )
        child[here], child[there] = child[there], child[here]
        return True

    def _change_form(self, child: np.ndarray, random_state: np.random.Generator) -> bool:
        """Let what surrounds the blocks run in one step that recomputes nothing, or in all, or no longer, in place.

        False if there is no such step.
        """
        idle = self._idle(child)
        if len(idle) == 0:
            return False
        drawn = idle[random_state.integers(len(idle))]
        changed = idle if random_state.random() < 0.5 else drawn
        child[changed] = not child[drawn]
        return True

    def _keep_form(self, child: np.ndarray, before: np.ndarray) -> None:
        """Let run what surrounds the blocks in steps that recompute nothing any more, in place, if most others do."""
        idle = self._idle(before)
        if 2 * int(before[idle].sum()) > len(idle):
            child[np.setdiff1d(self._idle(child), idle)] = True

    def _idle(self, child: np.ndarray) -> np.ndarray:
        """Indices of the whole output's genes of all steps that recompute nothing."""
        recomputed = child.copy()
        recomputed[self._switches] = False
        return np.setdiff1d(self._switches, self._layout.switch[recomputed])

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


class Coarsened(Repair):  # type: ignore[misc]
    """Nothing finer than asked for, and genes that are not read are 0: equal schedules have equal genomes."""

    def __init__(self, layout: GeneLayout, finest: Granularity) -> None:
        super().__init__()
        self._layout = layout
        self._finest = finest

    def _do(self, problem: Any, genomes: np.ndarray, **kwargs: Any) -> np.ndarray:
        """`genomes` has shape (children, genes); so has the result."""
        return coarsened(genomes, self._layout, self._finest)


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
    granularity: Granularity = "blocks"  # the finest
    coarse_populations: int = COARSE_POPULATIONS  # for so many, only whole steps are changed

    def crossover(self, levels: Levels) -> Crossover:
        fewest, most = self.crossover_points
        return MultiPointCrossover(fewest, most, self.crossover_probability, self.layout, levels)

    def mutation(self, levels: Levels) -> Mutation:
        return ScheduleMutation(self.mutation_rate, self.layout, levels)

    def algorithm(
        self, unseen: UnseenOnly, population: int, screening: Screening | None = None, **settings: Any
    ) -> NSGA2:
        """pymoo's NSGA-II with these operators, for every search that this package has."""
        steps = int(self.layout.steps.max()) + 1
        levels = Levels(self.granularity, unseen.seen, self.coarse_populations * population, steps)
        algorithm = NSGA2(
            pop_size=population,
            crossover=self.crossover(levels),
            mutation=self.mutation(levels),
            repair=Coarsened(self.layout, self.granularity),
            eliminate_duplicates=unseen,
            **settings,
        )
        if screening is not None:
            algorithm.mating = ScreenedMating(algorithm.mating, screening)
        return algorithm
