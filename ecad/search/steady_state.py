"""Steady-state NSGA-II: one question at a time, at any moment; every answer enters the population at once.

Ranking, crowding, selection and variation are NSGA-II's (Deb et al. 2002); after each answer the population of
mu + 1 loses its worst member, as in Durillo et al., "On the Effect of the Steady-State Selection Scheme in
Multi-Objective Genetic Algorithms" (EMO 2009).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.problems.static import StaticProblem

from ecad.schedule import BoolArray, GeneLayout
from ecad.search.nsga2 import FAILED
from ecad.search.operators import MultiPointCrossover, ScheduleMutation, UnseenOnly


class SteadyStateSearch:
    """Minimises two objectives over bit vectors; see `ecad.search.GeneticSearch` for the arguments.

    The initial genomes are asked for first. While fewer than two answers are there, all further questions are
    children of the initial genomes.
    """

    def __init__(
        self,
        initial: BoolArray,
        *,
        rng: np.random.Generator,
        layout: GeneLayout,
        crossover_points: tuple[int, int] = (2, 4),
        crossover_probability: float = 0.9,
        mutation_rate: float = 0.02,
    ) -> None:
        self._size, genes = initial.shape
        self._rng = rng
        self._initial = list(initial)
        self._unseen = UnseenOnly()
        self._problem = Problem(n_var=genes, n_obj=2, xl=0, xu=1, vtype=bool)
        self._survival = RankAndCrowding()
        self._algorithm = NSGA2(
            crossover=MultiPointCrossover(*crossover_points, prob=crossover_probability, layout=layout),
            mutation=ScheduleMutation(mutation_rate, layout),
            eliminate_duplicates=self._unseen,
        )
        self._algorithm.random_state = rng  # by which tournaments of equals are decided
        # Until there are answers: parents without merit.
        self._orphans = self._ranked(Population.new("X", initial), np.zeros((self._size, 2)))
        self._population = Population.empty()

    def ask(self) -> BoolArray | None:
        """A genome, shape (genes,), that was never asked for or told; None if nothing new is found."""
        while self._initial:
            genome: BoolArray = self._initial.pop(0).astype(np.bool_)
            if genome.tobytes() not in self._unseen.seen:
                self._unseen.seen.add(genome.tobytes())
                return genome
        parents = self._population if len(self._population) >= 2 else self._orphans
        children = self._algorithm.mating.do(
            self._problem, parents, 1, algorithm=self._algorithm, random_state=self._rng
        )
        if len(children) == 0:
            return None
        child: BoolArray = children[0].get("X").astype(np.bool_)
        self._unseen.seen.add(child.tobytes())
        return child

    def tell(self, genome: BoolArray, objectives: tuple[float, float]) -> None:
        """The objectives of a genome, both to be minimised. It need not have been asked for."""
        self._unseen.seen.add(genome.tobytes())
        values = np.array([objectives], dtype=np.float64)
        known = self._population.get("F") if len(self._population) else np.zeros((0, 2))
        merged = Population.merge(self._population, Population.new("X", genome[None]))
        values = np.vstack([known, values if np.isfinite(values).all() else np.full((1, 2), FAILED)])
        self._population = self._ranked(merged, values)

    def _ranked(self, population: Population, values: npt.NDArray[np.float64]) -> Population:
        """At most as many as the population has members, with rank and crowding."""
        Evaluator().eval(StaticProblem(self._problem, F=values), population, skip_already_evaluated=False)
        size = min(self._size, len(population))
        return self._survival.do(self._problem, population, n_survive=size, random_state=self._rng)
