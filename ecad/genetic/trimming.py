"""A little less of a good genome: what costs slightly less and is expected to lose least."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecad.arrays import BoolArray
from ecad.genetic.granularity import Granularity, coarsened
from ecad.schedule import GeneLayout

if TYPE_CHECKING:
    from ecad.genetic.screening import Screening

# What goes last should not go much below the target, in logarithms of cost.
_CLOSE = 0.005


def trimmed(
    genome: BoolArray, layout: GeneLayout, screening: Screening, targets: Sequence[float], finest: Granularity
) -> Iterator[BoolArray]:
    """Genomes that recompute less than `genome`, shape (genes,): one for each target, a cost objective that it must not
    exceed, the highest first.

    Greedily: what goes next, a gene, a component of a step in all blocks, or a whole step, is that of which the model
    of `screening` expects the smallest loss per cost saved. Fewer where nothing is left, none without a model.
    """
    predicted = screening.predict(genome[None])
    if predicted is None:
        return
    [(cost, root)] = predicted
    units = _units(layout, finest)
    for target in targets:
        while cost > target:
            gone = units[(units & genome).any(axis=1)]
            children = coarsened(genome & ~gone, layout, finest)
            predicted = screening.predict(children) if len(children) else None
            if predicted is None:
                return
            saved = cost - predicted[:, 0]
            lost = predicted[:, 1] ** 2 - root**2
            is_near = (predicted[:, 0] >= target - _CLOSE) & (saved > 0)
            usable = np.flatnonzero(is_near if is_near.any() else saved > 0)
            if len(usable) == 0:
                return
            # Where nothing is expected to be lost, what saves most goes first.
            rates = lost[usable].clip(min=0.0) / saved[usable]
            ranked = usable[np.lexsort([-saved[usable], rates])]
            # Several at a time, as long as that is half of the way: to ask the model again each time takes too long.
            several = max(1, int(np.searchsorted(np.cumsum(saved[ranked]), (cost - target) / 2)))
            [genome] = coarsened(genome[None] & ~gone[ranked[:several]].any(axis=0), layout, finest)
            after = screening.predict(genome[None])
            if after is None:
                return
            [(cost, root)] = after
        yield genome


def between(high: float, low: float, distance: float, most: int) -> list[float]:
    """Up to `most` costs between two, evenly spaced and at least `distance` apart, the highest first."""
    count = min(most, max(0, math.floor((high - low) / distance) - 1))
    return [high - (high - low) * (number + 1) / (count + 1) for number in range(count)]


def _units(layout: GeneLayout, finest: Granularity) -> BoolArray:
    """What can go at once, shape (units, genes)."""
    is_switch = layout.switch == np.arange(len(layout.switch))
    units = [layout.steps[None] == np.unique(layout.steps)[:, None]]
    if finest != "steps":
        units.append(layout.groups[None] == np.unique(layout.groups[~is_switch])[:, None])
    if finest == "blocks":
        units.append(np.eye(len(layout.switch), dtype=np.bool_)[~is_switch])
    return np.concatenate(units)
