"""NSGA-II by pymoo, through ask and tell only. Same seed and same answers: the same questions, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from ecad.arrays import BoolArray
from ecad.genetic.base import Objectives, finite_or_failed
from ecad.genetic.operators import UnseenOnly, Variation
from ecad.genetic.screening import Screening


class GeneticSearch:
    """A `SearchAlgorithm` in generations. `initial` has shape (population, genes).

    `ask` gives the next generation, at most as large as the population; `tell` must answer exactly that. With
    `screening` it is chosen from more children.
    """

    def __init__(
        self, initial: BoolArray, variation: Variation, *, seed: int, screening: Screening | None = None
    ) -> None:
        population, genes = initial.shape
        self._unseen = UnseenOnly()
        self._problem = Problem(n_var=genes, n_obj=2, xl=0, xu=1, vtype=bool)
        self._screening = screening
        self._algorithm = variation.algorithm(self._unseen, population, screening, sampling=initial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymoo's hint about its optional compiled modules
            self._algorithm.setup(self._problem, termination=NoTermination(), seed=seed)
        self._asked: Population | None = None

    def ask(self) -> BoolArray:
        """Genomes of the next generation, shape (at most population, genes); none if nothing new is found."""
        self._asked = self._algorithm.ask()
        if self._asked is None or len(self._asked) == 0:
            return np.zeros((0, self._problem.n_var), dtype=np.bool_)
        genomes: BoolArray = self._asked.get("X").astype(np.bool_)
        self._unseen.seen.update(genome.tobytes() for genome in genomes)
        return genomes

    def tell(self, genomes: BoolArray, objectives: Objectives) -> None:
        """Objectives of the genomes of the last `ask`, all of them and in their order."""
        if self._asked is None or objectives.shape != (len(self._asked), 2):
            raise ValueError(
                f"tell() needs the objectives of the last ask(), not the shape {objectives.shape}"
            )
        if not np.array_equal(genomes, self._asked.get("X")):
            raise ValueError("tell() needs the genomes of the last ask(), in its order")
        if self._screening is not None:
            self._screening.tell(genomes, objectives)
        static = StaticProblem(self._problem, F=finite_or_failed(objectives))
        Evaluator().eval(static, self._asked)
        self._algorithm.tell(infills=self._asked)
        self._asked = None
