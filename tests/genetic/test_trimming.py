"""A little less of a good genome: how much less, and what goes."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.arrays import BoolArray, FloatArray
from ecad.genetic.granularity import GRANULARITIES, Granularity, coarsened
from ecad.genetic.screening import Screening
from ecad.genetic.trimming import between, trimmed
from ecad.schedule import ScheduleShape, gene_layout, genome_length

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
LAYOUT = gene_layout(SHAPE)
GENES = genome_length(SHAPE)
IS_SWITCH = LAYOUT.switch == np.arange(GENES)

# What a gene is worth: less from step to step.
WORTH = np.where(IS_SWITCH, 0.0, 1.0 / LAYOUT.steps)


def describe(genomes: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Cost objective: the logarithm of the number of genes and one; features are the genes."""
    genomes = coarsened(genomes, LAYOUT, "blocks")
    return np.log(1.0 + genomes.sum(axis=1)), genomes.astype(float)


def informed() -> Screening:
    """A model that knows 300 answers: the square root of the loss is what the genes that are 0 are worth."""
    genomes = coarsened(np.random.default_rng(0).random((300, GENES)) < 0.7, LAYOUT, "blocks")
    screening = Screening(describe)
    roots = (WORTH * ~genomes).sum(axis=1)
    screening.tell(genomes, np.stack([describe(genomes)[0], roots**2], axis=1))
    return screening


@pytest.mark.parametrize("finest", GRANULARITIES)
def test_every_target_is_met_by_less_of_the_same(finest: Granularity) -> None:
    everything = np.ones(GENES, dtype=np.bool_)
    targets = [np.log(40.0), np.log(30.0), np.log(20.0)]
    found = list(trimmed(everything, LAYOUT, informed(), targets, finest))
    assert len(found) == 3
    before = everything
    for genome, target in zip(found, targets, strict=True):
        assert not (genome & ~before).any()  # only less
        assert (genome == coarsened(genome[None], LAYOUT, finest)[0]).all()
        [cost] = describe(genome[None])[0]
        assert cost <= target
        if finest == "blocks":  # single genes come close
            assert cost > target - 0.06
        before = genome


def test_what_is_worth_least_goes_first() -> None:
    everything = np.ones(GENES, dtype=np.bool_)
    some = everything & ((LAYOUT.steps > 1) | IS_SWITCH)  # where something is lost already
    [genome] = trimmed(some, LAYOUT, informed(), [np.log(23.0)], "blocks")
    gone = some & ~genome & ~IS_SWITCH
    least = np.sort(WORTH[some & ~IS_SWITCH])[: gone.sum()]
    assert WORTH[gone].sum() < 1.05 * least.sum()
    [genome] = trimmed(everything, LAYOUT, informed(), [np.log(33.0)], "steps")
    assert set(LAYOUT.steps[~genome].tolist()) == {4, 5}


def test_without_a_model_or_anything_left_there_is_nothing() -> None:
    everything = np.ones(GENES, dtype=np.bool_)
    assert list(trimmed(everything, LAYOUT, Screening(describe), [0.0], "blocks")) == []
    # Cheaper than nothing cannot be.
    assert len(list(trimmed(everything, LAYOUT, informed(), [1.0, -1.0], "blocks"))) == 1


def test_targets_lie_evenly_between_two_costs() -> None:
    np.testing.assert_allclose(between(1.0, 0.89, 0.02, 9), [0.978, 0.956, 0.934, 0.912])
    np.testing.assert_allclose(between(1.0, 0.89, 0.02, 1), [0.945])
    assert between(1.0, 0.97, 0.02, 9) == []
