"""From coarse to fine: how large the parts of a schedule are that children change, and when they become smaller.

Which steps compute at all matters most, and there are few of them: a search over whole steps is done after tens of
evaluations. What single components and blocks add is then looked for around what that search has found.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Literal, get_args

import numpy as np

from ecad.arrays import BoolArray, IntArray
from ecad.schedule import GeneLayout

Granularity = Literal["steps", "components", "blocks"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)

# For so many populations, the first included, children are changed by whole steps only.
COARSE_POPULATIONS = 3

# Afterwards: how often a child's change is one of whole steps, of components in all blocks, of single genes.
_SHARES = (0.5, 0.3, 0.2)


class Levels:
    """Draws how fine the change of a child is: at most `finest`, and whole steps until `coarse` genomes are `seen`.

    That goes by a number and not by a share of the whole search: one that is continued with more generations has asked
    the same until then.
    """

    def __init__(self, finest: Granularity, seen: Sized, coarse: int, steps: int) -> None:
        self._seen = seen
        self._coarse = min(coarse, 2 ** (steps - 1) // 4)  # there are only so many sets of steps
        self._choices = GRANULARITIES[: GRANULARITIES.index(finest) + 1]
        shares = np.array(_SHARES[: len(self._choices)])
        self._bounds = np.cumsum(shares / shares.sum())

    def draw(self, random_state: np.random.Generator) -> Granularity:
        draw = random_state.random()
        if len(self._seen) < self._coarse:
            return "steps"
        return self._choices[min(int(np.searchsorted(self._bounds, draw)), len(self._choices) - 1)]


def coarseness(genomes: BoolArray, layout: GeneLayout) -> IntArray:
    """Of each genome, shape (n, genes), the coarsest granularity that can say it: its place in GRANULARITIES, (n,)."""
    finer = [(coarsened(genomes, layout, each) != genomes).any(axis=1) for each in GRANULARITIES[:-1]]
    return np.asarray(np.sum(finer, axis=0), dtype=np.int64)


def coarsened(genomes: BoolArray, layout: GeneLayout, finest: Granularity) -> BoolArray:
    """Genomes, shape (n, genes), in which nothing is finer than `finest`; genes that are not read are 0.

    What most of a component's blocks do in a step, all of them do. With "steps" a step recomputes every component if it
    recomputes most, and else none; in the latter case it may run all the same, with what surrounds the blocks.
    """
    coarse: BoolArray = genomes & genomes[:, layout.switch]
    if finest == "blocks":
        return coarse
    groups = _step_groups(layout) if finest == "steps" else layout.groups
    sizes = np.bincount(groups)
    for genome in coarse:
        genome[:] = (2 * np.bincount(groups, weights=genome) > sizes)[groups]
    return coarse & coarse[:, layout.switch]


def _step_groups(layout: GeneLayout) -> IntArray:
    """The group of each gene, shape (genes,), if all components of a step are one, numbered from 0, and the switch of
    the step another one, numbered from the number of steps with genes on."""
    steps = layout.steps - 1
    is_switch = layout.switch == np.arange(len(steps))
    return np.asarray(np.where(is_switch, steps.max() + 1 + steps, steps), dtype=np.int64)
