"""The genetic search: no model, no images, only bits."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.search_algorithm import SHAPE, SearchAlgorithmContract, objectives

from ecad.errors import ScheduleError
from ecad.genetic import GeneticSearch, initial_genomes
from ecad.genetic.base import SearchAlgorithm
from ecad.genetic.granularity import Levels
from ecad.genetic.operators import Coarsened, MultiPointCrossover, ScheduleMutation, Variation
from ecad.genetic.steady_state import SteadyStateSearch
from ecad.schedule import (
    GeneLayout,
    ScheduleShape,
    from_genome,
    gene_layout,
    genome_length,
    heuristic,
    to_genome,
)

LAYOUT = gene_layout(SHAPE)
LEVELS = Levels("blocks", seen=range(1), coarse=0, steps=6)  # of all kinds, from the start


class TestGeneticSearch(SearchAlgorithmContract):
    """In generations."""

    def algorithm(self, initial: np.ndarray, variation: Variation, seed: int) -> SearchAlgorithm:
        return GeneticSearch(initial, variation, seed=seed)

    def test_every_generation_is_full(self) -> None:
        search = self.made(population=12)
        for _ in range(30):
            genomes = search.ask()
            assert len(genomes) == 12
            search.tell(genomes, objectives(genomes))


class TestSteadyStateSearch(SearchAlgorithmContract):
    """One question at a time."""

    def algorithm(self, initial: np.ndarray, variation: Variation, seed: int) -> SearchAlgorithm:
        return SteadyStateSearch(initial, variation, rng=np.random.default_rng(seed))

    def test_answers_may_come_in_any_order_and_unasked(self) -> None:
        search = self.made()
        asked = np.concatenate([search.ask() for _ in range(20)])  # no answer yet
        assert len({genome.tobytes() for genome in asked}) == 20
        search.tell(asked[::-1], objectives(asked[::-1]))
        strangers = np.random.default_rng(5).random((3, asked.shape[1])) < 0.5
        search.tell(strangers, objectives(strangers))
        known = {genome.tobytes() for genome in (*asked, *strangers)}
        assert all(search.ask()[0].tobytes() not in known for _ in range(20))


def test_failed_evaluations_never_become_parents() -> None:
    """Genomes whose first gene is set fail (NaN): they must die out although they would be cheap."""
    search = GeneticSearch(initial_genomes(SHAPE, 16, np.random.default_rng(0)), Variation(LAYOUT), seed=0)
    for _ in range(15):
        genomes = search.ask()
        values = objectives(genomes)
        values[genomes[:, 0]] = np.nan
        search.tell(genomes, values)
    survivors = search._algorithm.pop.get("X").astype(bool)
    assert not survivors[:, 0].any()


def test_tell_wants_the_objectives_of_the_last_ask() -> None:
    search = GeneticSearch(initial_genomes(SHAPE, 8, np.random.default_rng(0)), Variation(LAYOUT), seed=0)
    genomes = search.ask()
    with pytest.raises(ValueError, match="last ask"):
        search.tell(genomes[:3], np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"genomes of the last ask\(\), in its order"):
        search.tell(genomes[::-1], np.zeros((8, 2)))


def test_crossover_swaps_between_two_and_four_points() -> None:
    shape = ScheduleShape("pixart", 11, {"transformer_blocks": 2})
    crossover = MultiPointCrossover(2, 4, prob=1.0, layout=gene_layout(shape), levels=LEVELS)
    parents = np.stack([np.zeros((400, 70), dtype=bool), np.ones((400, 70), dtype=bool)])
    children = crossover._do(None, parents, random_state=np.random.default_rng(0))
    assert np.array_equal(children[0], ~children[1])
    # Ten steps of six components, then the whole outputs of ten steps.
    steps, outputs = children[0][:, :60].reshape(400, 10, 6), children[0][:, 60:, None]
    whole_steps = (steps == outputs).all(axis=(1, 2))
    assert 0.4 < whole_steps.mean() < 0.6
    for those, genes in ((whole_steps, children[0][:, :60]), (~whole_steps, children[0])):
        changes = (np.diff(genes[those].astype(int), axis=1) != 0).sum(axis=1)
        assert set(changes.tolist()) == {2, 3, 4}


def line_layout(steps: int, width: int = 1) -> GeneLayout:
    """One component in `width` blocks: each step is one group."""
    numbers = np.repeat(np.arange(steps), width)
    later = np.arange(steps * width) + width
    return GeneLayout(
        numbers, numbers + 1, np.where(later < steps * width, later, -1), np.arange(steps * width)
    )


def children_of(genomes: np.ndarray, layout: GeneLayout, rate: float = 0.04, seed: int = 0) -> np.ndarray:
    return ScheduleMutation(rate, layout, LEVELS)._do(None, genomes, random_state=np.random.default_rng(seed))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_mutation_keeps_the_number_of_ones(share: float) -> None:
    """A sparse genome stays sparse on average; what is no shift flips a share `rate` of the genes."""
    genomes = np.random.default_rng(0).random((800, 500)) < share
    children = children_of(genomes, line_layout(500))
    assert children.mean() == pytest.approx(genomes.mean(), abs=0.003)
    changed = (genomes ^ children).sum(axis=1)
    flips = changed > 4  # one or two shifts change two to four genes, a move two
    # Where nearly all steps recompute, few have a place to move to: then they flip.
    assert 0.4 < flips.mean() < 0.75
    assert changed[flips].mean() == pytest.approx(0.04 * 500, rel=0.1)


def test_without_anything_to_shift_genes_flip() -> None:
    genomes = np.zeros((400, 500), dtype=bool)
    children = children_of(genomes, line_layout(500))
    assert 0.01 < children.mean() < 0.03


def test_a_fifth_of_the_children_flips_single_genes() -> None:
    """In a genome of whole groups a flipped or shifted group leaves whole groups, a flipped gene does not."""
    genomes = np.repeat(np.random.default_rng(0).random((800, 50)) < 0.3, 10, axis=1)
    children = children_of(genomes, line_layout(50, width=10))
    sums = children.reshape(800, 50, 10).sum(axis=2)
    whole = np.isin(sums, (0, 10)).all(axis=1)
    assert 0.15 < 1 - whole.mean() < 0.25


def test_a_step_moves_by_one_or_to_a_place_between_its_neighbours() -> None:
    """From a step mask, half of the children only move recomputed steps, of all components or of one."""
    shape = ScheduleShape("pixart", 10, {"transformer_blocks": 3})
    mask = heuristic("mask:0,3,6", shape)
    genomes = np.stack([to_genome(mask)] * 800)
    children = children_of(genomes, gene_layout(shape), rate=0.0)  # a flip of groups still flips one
    moved = [
        child
        for child in children
        if child.sum() == genomes[0].sum() and not np.array_equal(child, genomes[0])
    ]
    assert 0.4 < len(moved) / 800 < 0.55
    whole_steps = 0
    places: set[tuple[int, ...]] = set()
    for child in moved:
        array = from_genome(child, shape).recompute["transformer_blocks"]
        assert np.array_equal(array, array[:, :1].repeat(3, axis=1))  # all blocks move together
        found = {tuple(np.flatnonzero(array[:, 0, component]).tolist()) for component in range(3)}
        # One or two shifts of any, or a whole step further.
        far = {steps for steps in found if np.abs(np.array(steps) - [0, 3, 6]).sum() > 2}
        if far:
            assert len(found) == 1
            places |= far
        whole_steps += bool((array == array[:, :, :1]).all())
    assert 0.5 < whole_steps / len(moved) < 0.8
    # Step 3 may go to 1, 2, 4 and 5, of which none is far; step 6 from 4 to 9.
    assert places == {(0, 3, 9)}


def test_a_move_takes_every_place_between_the_neighbours_and_none_beyond() -> None:
    layout = line_layout(12)
    genome = np.isin(np.arange(12), [2, 6, 11])
    mutation = ScheduleMutation(0.0, layout, LEVELS)
    random_state = np.random.default_rng(0)
    found = set()
    for _ in range(300):
        child = genome.copy()
        assert mutation._move(child, layout.steps - 1, random_state)
        found.add(tuple(np.flatnonzero(child).tolist()))
    assert found == (
        {(place, 6, 11) for place in (0, 1, 3, 4, 5)}
        | {(2, place, 11) for place in (3, 4, 5, 7, 8, 9, 10)}
        | {(2, 6, place) for place in (7, 8, 9, 10)}
    )
    for genome in (np.zeros(12, dtype=bool), np.ones(12, dtype=bool)):
        child = genome.copy()
        assert not mutation._move(child, layout.steps - 1, random_state)
        assert np.array_equal(child, genome)


def test_a_flip_of_groups_takes_a_component_or_a_whole_step() -> None:
    shape = ScheduleShape("pixart", 10, {"transformer_blocks": 3})
    genomes = np.stack([to_genome(heuristic("mask:0,3,6", shape))] * 800)
    children = children_of(genomes, gene_layout(shape), rate=0.0)
    changed = (children ^ genomes)[:, : 9 * 9].reshape(800, 9, 3, 3)
    sizes = changed.sum(axis=(1, 2, 3))
    one_step = changed.any(axis=(2, 3)).sum(axis=1) == 1
    assert (one_step & (sizes == 9)).sum() > 30  # all components of one step
    assert (one_step & (sizes == 3)).sum() > 30  # one component of one step
    skipped = ~children[:, 9 * 9 :]  # steps in which nothing runs
    assert 20 < skipped.any(axis=1).sum() < 400


def test_layout_of_genes() -> None:
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 2})
    layout = gene_layout(shape)
    assert layout.groups.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]
    assert layout.steps.tolist() == [1] * 6 + [2] * 6 + [1, 2]
    assert layout.next_step.tolist() == [6, 7, 8, 9, 10, 11] + [-1] * 6 + [13, -1]
    assert layout.switch.tolist() == [12] * 6 + [13] * 6 + [12, 13]


def test_what_is_not_read_is_repaired_away() -> None:
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 1})
    genomes = np.ones((1, 8), dtype=bool)
    genomes[0, 6] = False  # the whole output of step 1
    repaired = Coarsened(gene_layout(shape), "blocks")._do(None, genomes)
    assert repaired.astype(int).tolist() == [[0, 0, 0, 1, 1, 1, 0, 1]]
    assert np.array_equal(repaired[0], to_genome(from_genome(genomes[0], shape)))


def test_initial_population() -> None:
    genomes = initial_genomes(SHAPE, 20, np.random.default_rng(0))
    assert genomes.shape == (20, genome_length(SHAPE))
    assert len({genome.tobytes() for genome in genomes}) == 20
    # The ends of every front come first.
    assert from_genome(genomes[0], SHAPE) == heuristic("all", SHAPE)
    assert from_genome(genomes[1], SHAPE) == heuristic("output:0", SHAPE)
    known = {genome.tobytes() for genome in genomes}
    assert to_genome(heuristic("mask:0,3", SHAPE)).tobytes() in known
    shares = genomes.mean(axis=1)
    assert (shares < 0.25).sum() >= 3
    assert (shares > 0.45).sum() >= 3


def test_too_large_a_population_is_refused() -> None:
    shape = ScheduleShape("pixart", 2, {"transformer_blocks": 1})
    with pytest.raises(ScheduleError, match="fewer than 10 different schedules"):
        initial_genomes(shape, 10, np.random.default_rng(0))
