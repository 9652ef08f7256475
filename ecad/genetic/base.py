"""What every search algorithm offers to the search loop: questions and answers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecad.arrays import BoolArray

# What a failed evaluation counts as: worse than any real point in both objectives.
FAILED = 1e3

Objectives = npt.NDArray[np.float64]  # (genomes, 2), both to be minimised


class SearchAlgorithm(Protocol):
    """Minimises two objectives over bit vectors.

    With the same seed (or generator) and the same answers it asks the same questions, bit for bit. No genome is asked
    for twice. A genome with an objective that is not a finite number counts as failed: every other one dominates it.
    Its second objective may be a number all the same, and says how bad it was.
    """

    def ask(self) -> BoolArray:
        """The next genomes to evaluate, shape (n, genes); n is 0 if nothing new is found."""

    def tell(self, genomes: BoolArray, objectives: Objectives) -> None:
        """The objectives of genomes, shapes (n, genes) and (n, 2)."""


def finite_or_failed(objectives: Objectives) -> Objectives:
    """The objectives, those of failed genomes replaced."""
    finite = np.isfinite(objectives).all(axis=1, keepdims=True)
    return np.where(finite, objectives, FAILED)
