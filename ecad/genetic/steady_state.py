"""Steady-state NSGA-II: one question at a time, at any moment; every answer enters the population at once.

Ranking, crowding, selection and variation are NSGA-II's (Deb et al. 2002); after each answer the population of
mu + 1 loses its worst member, as in Durillo et al., "On the Effect of the Steady-State Selection Scheme in
Multi-Objective Genetic Algorithms" (EMO 2009).
"""

from __future__ import annotations

import numpy as np
from pymoo.algorithms.moo.nsga2 import RankAndCrowding
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.problems.static import StaticProblem

from ecad.arrays import BoolArray
from ecad.genetic.base import Objectives, finite_or_failed
from ecad.genetic.operators import UnseenOnly, Variation
from ecad.genetic.screening import Screening


class SteadyStateSearch:
    """A `SearchAlgorithm` without generations: `ask` gives one genome at a time, at any moment; `tell` takes any.

    The initial genomes, shape (population, genes), are asked for first. While fewer than two answers are there, all
    further questions are children of the initial genomes.
    """

    def __init__(
        self,
        initial: BoolArray,
        variation: Variation,
        *,
        rng: np.random.Generator,
        screening: Screening | None = None,
    ) -> None:
        self._size, genes = initial.shape
        self._rng = rng
        self._initial = list(initial)
        self._unseen = UnseenOnly()
        self._problem = Problem(n_var=genes, n_obj=2, xl=0, xu=1, vtype=bool)
        self._survival = RankAndCrowding()
        self._screening = screening
        self._algorithm = variation.algorithm(self._unseen, self._size, screening)
        self._algorithm.random_state = rng  # by which tournaments of equals are decided
        # Until there are answers: parents without merit.
        self._orphans = self._ranked(Population.new("X", initial), np.zeros((self._size, 2)))
        self._population = Population.empty()

    def ask(self) -> BoolArray:
        """A genome, shape (1, genes), that was never asked for or told; none if nothing new is found."""
        while self._initial:
            genome: BoolArray = self._initial.pop(0).astype(np.bool_)
            if genome.tobytes() not in self._unseen.seen:
                self._unseen.seen.add(genome.tobytes())
                return genome[None]
        parents = self._population if len(self._population) >= 2 else self._orphans
        children = self._algorithm.mating.do(
            self._problem, parents, 1, algorithm=self._algorithm, random_state=self._rng
        )
        if len(children) == 0:
            return np.zeros((0, self._problem.n_var), dtype=np.bool_)
        child: BoolArray = children[0].get("X").astype(np.bool_)
        self._unseen.seen.add(child.tobytes())
        return child[None]

    def tell(self, genomes: BoolArray, objectives: Objectives) -> None:
        """The objectives of genomes, one after the other. They need not have been asked for."""
        if self._screening is not None:
            self._screening.tell(genomes, objectives)
        for genome, values in zip(genomes, finite_or_failed(objectives), strict=True):
            self._unseen.seen.add(genome.tobytes())
            known = self._population.get("F") if len(self._population) else np.zeros((0, 2))
            merged = Population.merge(self._population, Population.new("X", genome[None]))
            self._population = self._ranked(merged, np.vstack([known, values[None]]))

    def _ranked(self, population: Population, values: Objectives) -> Population:
        """At most as many as the population has members, with rank and crowding."""
        Evaluator().eval(StaticProblem(self._problem, F=values), population, skip_already_evaluated=False)
        size = min(self._size, len(population))
        return self._survival.do(self._problem, population, n_survive=size, random_state=self._rng)
