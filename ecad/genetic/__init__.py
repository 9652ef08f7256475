"""The genetic search over schedules, without any knowledge of models, images or processes."""

from typing import TYPE_CHECKING

from ecad.genetic.front import hypervolume, nondominated
from ecad.genetic.seeding import initial_genomes

if TYPE_CHECKING:
    from ecad.genetic.nsga2 import GeneticSearch

__all__ = ["GeneticSearch", "hypervolume", "initial_genomes", "nondominated"]


def __getattr__(name: str) -> object:
    # pymoo is loaded at the first use of the algorithm, not to filter a front or to draw it.
    if name == "GeneticSearch":
        from ecad.genetic.nsga2 import GeneticSearch

        return GeneticSearch
    raise AttributeError(f"module 'ecad.genetic' has no attribute {name!r}")
