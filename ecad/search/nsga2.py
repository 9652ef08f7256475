"""NSGA-II by pymoo, through ask and tell only. Same seed and same answers: the same questions, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from ecad.schedule import BoolArray, GeneLayout
from ecad.search.operators import MultiPointCrossover, ScheduleMutation, UnseenOnly

# What a failed evaluation counts as: worse than any real point in both objectives.
FAILED = 1e3


class GeneticSearch:
    """Minimises two objectives over bit vectors.

    `initial` has shape (population, genes), `layout` says what the genes mean. `ask` gives the next
    generation's genomes, each one that was never asked for before; `tell` takes their objectives, shape
    (genomes, 2). A genome with a non-finite objective counts as failed: every other one dominates it.
    """

    def __init__(
        self,
        initial: BoolArray,
        *,
        seed: int,
        layout: GeneLayout,
        crossover_points: tuple[int, int] = (2, 4),
        crossover_probability: float = 0.9,
        mutation_rate: float = 0.02,
    ) -> None:
        population, genes = initial.shape
        self._unseen = UnseenOnly()
        self._problem = Problem(n_var=genes, n_obj=2, xl=0, xu=1, vtype=bool)
        self._algorithm = NSGA2(
            pop_size=population,
            sampling=initial,
            crossover=MultiPointCrossover(*crossover_points, prob=crossover_probability, layout=layout),
            mutation=ScheduleMutation(mutation_rate, layout),
            eliminate_duplicates=self._unseen,
        )
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

    def tell(self, objectives: npt.NDArray[np.float64]) -> None:
        """Objectives of the genomes of the last `ask`, shape (genomes, 2), both to be minimised."""
        if self._asked is None or objectives.shape != (len(self._asked), 2):
            raise ValueError(
                f"tell() needs the objectives of the last ask(), not the shape {objectives.shape}"
            )
        finite = np.isfinite(objectives).all(axis=1, keepdims=True)
        static = StaticProblem(self._problem, F=np.where(finite, objectives, FAILED))
        Evaluator().eval(static, self._asked)
        self._algorithm.tell(infills=self._asked)
        self._asked = None
