"""From coarse to fine: what a schedule is at each granularity, when a search becomes finer, and with what it begins."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from contracts.search_algorithm import SHAPE

from ecad.arrays import BoolArray
from ecad.genetic import GeneticSearch, initial_genomes
from ecad.genetic.base import SearchAlgorithm
from ecad.genetic.granularity import (
    COARSE_POPULATIONS,
    GRANULARITIES,
    Granularity,
    Levels,
    coarsened,
    coarseness,
)
from ecad.genetic.operators import ScheduleMutation, Variation
from ecad.genetic.steady_state import SteadyStateSearch
from ecad.schedule import ScheduleShape, gene_layout, heuristic, to_genome

LAYOUT = gene_layout(SHAPE)
SMALL = ScheduleShape("pixart", 3, {"transformer_blocks": 2})


@pytest.mark.parametrize(
    ("finest", "expected"),
    [
        ("blocks", "110 100, 111 101, 11"),
        # Of two blocks both must recompute: one is not most of them.
        ("components", "100 100, 101 101, 11"),
        # Step 1: 3 of 6 are not most; it runs without them. Step 2: 5 of 6 are.
        ("steps", "000 000, 111 111, 11"),
    ],
)
def test_coarsened_by_hand(finest: Granularity, expected: str) -> None:
    """Three steps, two blocks of three components: step 1, step 2, then the whole output of both."""
    assert text_of("110 100, 111 101, 11", finest) == expected


@pytest.mark.parametrize("finest", GRANULARITIES)
def test_coarsened_where_nothing_runs_or_little_does(finest: Granularity) -> None:
    # What is not read counts for nothing, however much it is.
    assert text_of("111 111, 000 000, 00", finest) == "000 000, 000 000, 00"
    # A step that runs and recomputes little still runs.
    little = {"blocks": "000 010", "components": "000 000", "steps": "000 000"}[finest]
    assert text_of("000 010, 111 111, 11", finest) == f"{little}, 111 111, 11"


def test_coarseness_by_hand() -> None:
    texts = ["111 111, 000 000, 10", "100 100, 101 101, 11", "000 000, 111 111, 11", "110 100, 000 000, 10"]
    genomes = np.array([[letter == "1" for letter in text if letter in "01"] for text in texts])
    named = [GRANULARITIES[each] for each in coarseness(genomes, gene_layout(SMALL))]
    assert named == ["steps", "components", "steps", "blocks"]


def text_of(text: str, finest: Granularity) -> str:
    """The coarsened genome, written as the given one."""
    genome = np.array([[letter == "1" for letter in text if letter in "01"]])
    before = genome.copy()
    [coarse] = coarsened(genome, gene_layout(SMALL), finest)
    assert np.array_equal(genome, before)
    assert np.array_equal(coarsened(coarse[None], gene_layout(SMALL), finest)[0], coarse)
    digits = iter(coarse.astype(int).astype(str))
    return "".join(next(digits) if letter in "01" else letter for letter in text)


def drawn(levels: Levels, count: int = 4000) -> Counter[str]:
    random_state = np.random.default_rng(0)
    return Counter(levels.draw(random_state) for _ in range(count))


def test_whole_steps_first_then_all_levels() -> None:
    seen: set[int] = set()
    levels = Levels("blocks", seen, coarse=10, steps=20)
    seen.update(range(9))
    assert set(drawn(levels)) == {"steps"}
    seen.add(9)
    shares = {name: count / 4000 for name, count in drawn(levels).items()}
    assert shares == pytest.approx({"steps": 0.5, "components": 0.3, "blocks": 0.2}, abs=0.03)


def test_never_finer_than_the_finest() -> None:
    assert set(drawn(Levels("steps", range(100), coarse=10, steps=20))) == {"steps"}
    found = drawn(Levels("components", range(100), coarse=10, steps=20))
    assert set(found) == {"steps", "components"}
    assert found["steps"] / 4000 == pytest.approx(5 / 8, abs=0.03)


def test_with_few_steps_the_coarse_phase_ends_before_the_masks_do() -> None:
    """Six steps have 32 sets of steps: a quarter of them."""
    seen: set[int] = set(range(7))
    levels = Levels("blocks", seen, coarse=1000, steps=6)
    assert set(drawn(levels)) == {"steps"}
    seen.add(7)
    assert set(drawn(levels)) == set(GRANULARITIES)


def test_a_search_is_over_whole_steps_for_its_first_populations() -> None:
    """Of children of step masks alone; seeds may be finer."""
    shape = ScheduleShape("pixart", 20, {"transformer_blocks": 2})
    layout, population = gene_layout(shape), 12
    masks = np.stack([to_genome(heuristic(f"output:{step},{step + 3}", shape)) for step in range(1, 13)])
    search = GeneticSearch(masks, Variation(layout), seed=0)
    are_masks: list[bool] = []
    while len(are_masks) < 2 * COARSE_POPULATIONS * population:
        genomes = search.ask()
        are_masks += (coarsened(genomes, layout, "steps") == genomes).all(axis=1).tolist()
        search.tell(genomes, np.column_stack([genomes.mean(axis=1), np.arange(len(genomes))]))
    assert all(are_masks[: COARSE_POPULATIONS * population])
    assert not all(are_masks[COARSE_POPULATIONS * population :])


def genetic(initial: BoolArray, variation: Variation) -> SearchAlgorithm:
    return GeneticSearch(initial, variation, seed=0)


def steady(initial: BoolArray, variation: Variation) -> SearchAlgorithm:
    return SteadyStateSearch(initial, variation, rng=np.random.default_rng(0))


@pytest.mark.parametrize("make", [genetic, steady])
@pytest.mark.parametrize("finest", GRANULARITIES)
def test_a_search_asks_for_nothing_finer_than_the_finest(finest: Granularity, make: Any) -> None:
    shape = ScheduleShape("pixart", 12, {"transformer_blocks": 3})
    layout = gene_layout(shape)
    weights = np.random.default_rng(0).random(len(layout.steps))
    initial = initial_genomes(shape, 12, np.random.default_rng(0), finest)
    search = make(initial, Variation(layout, granularity=finest))
    found: list[BoolArray] = []
    while sum(map(len, found)) < 240:
        genomes = search.ask()
        assert len(genomes) > 0
        values = np.column_stack([genomes.mean(axis=1), (~genomes * weights).sum(axis=1)])
        search.tell(genomes, values)
        found.append(genomes)
    asked = np.concatenate(found)
    for level in GRANULARITIES:
        is_coarse = (coarsened(asked, layout, level) == asked).all(axis=1)
        # Nothing finer, and not only what is coarser still.
        assert is_coarse.all() == (GRANULARITIES.index(level) >= GRANULARITIES.index(finest))


def test_a_search_over_whole_steps_ends_with_the_last_mask() -> None:
    """In four steps everything is recomputed, or what surrounds the blocks, or nothing: 81."""
    shape = ScheduleShape("pixart", 5, {"transformer_blocks": 3})
    initial = initial_genomes(shape, 8, np.random.default_rng(0), "steps")
    search = GeneticSearch(initial, Variation(gene_layout(shape), granularity="steps"), seed=0)
    seen = 0
    while len(genomes := search.ask()):
        seen += len(genomes)
        search.tell(genomes, np.random.default_rng(seen).random((len(genomes), 2)))
    assert 79 <= seen <= 81


def test_what_is_recomputed_where_nothing_ran_lets_the_step_run() -> None:
    mask = to_genome(heuristic("output:0,3", SHAPE))
    parents = np.stack([mask] * 300)
    mutation = ScheduleMutation(0.02, LAYOUT, Levels("blocks", range(1), coarse=0, steps=6))
    children = mutation._do(None, parents, random_state=np.random.default_rng(0))
    added = children & ~parents
    outputs = LAYOUT.switch == np.arange(len(mask))
    assert added[:, ~outputs].any(axis=1).sum() > 100
    assert children[:, LAYOUT.switch][added].all()
    # So no child is repaired into its parent for that reason.
    repaired = coarsened(children, LAYOUT, "blocks")
    assert (repaired & ~parents).any(axis=1).sum() == added.any(axis=1).sum()


@pytest.mark.parametrize(("name", "other"), [("mask", "output"), ("output", "mask")])
def test_where_nothing_is_recomputed_what_surrounds_the_blocks_may_run_or_not(name: str, other: str) -> None:
    parent = to_genome(heuristic(f"{name}:0,2,4", SHAPE))
    mutation = ScheduleMutation(0.02, LAYOUT, Levels("steps", range(1), coarse=0, steps=6))
    children = mutation._do(None, np.stack([parent] * 400), random_state=np.random.default_rng(0))
    is_output = LAYOUT.switch == np.arange(len(parent))
    differ_in_form = (children[:, ~is_output] == parent[~is_output]).all(axis=1) & (children != parent).any(
        axis=1
    )
    forms = {child.tobytes() for child in children[differ_in_form]}
    # Of three such steps one changes, or all.
    assert to_genome(heuristic(f"{other}:0,2,4", SHAPE)).tobytes() in forms
    assert len(forms) == 4
    assert 0.05 < differ_in_form.mean() < 0.3
    # A step that recomputes nothing any more is like the others.
    sparser = children[children[:, ~is_output].sum(axis=1) < parent[~is_output].sum()]
    assert len(sparser) > 20
    recomputed = np.zeros((len(sparser), 6), dtype=bool)
    for step in range(1, 6):
        recomputed[:, step] = sparser[:, ~is_output & (LAYOUT.steps == step)].any(axis=1)
    runs = sparser[:, is_output]
    assert (runs == ((name == "mask") | recomputed[:, 1:])).all()


def test_genes_that_are_not_read_do_not_come_back() -> None:
    """Crossover may leave some in a step in which nothing runs."""
    parent = to_genome(heuristic("output:0,2,4", SHAPE))
    unread = parent | (LAYOUT.steps == 3) & (LAYOUT.switch != np.arange(len(parent)))
    mutation = ScheduleMutation(0.02, LAYOUT, Levels("blocks", range(1), coarse=0, steps=6))
    clean, other = (
        mutation._do(None, np.stack([genome] * 200), random_state=np.random.default_rng(0))
        for genome in (parent, unread)
    )
    assert (clean == other).all()


@pytest.mark.parametrize("finest", GRANULARITIES)
def test_initial_genomes_cover_cheap_and_dear(finest: Granularity) -> None:
    shape = ScheduleShape("pixart", 20, {"transformer_blocks": 4})
    layout = gene_layout(shape)
    genomes = initial_genomes(shape, 24, np.random.default_rng(0), finest)
    assert len({genome.tobytes() for genome in genomes}) == 24
    masks = genomes[(coarsened(genomes, layout, "steps") == genomes).all(axis=1)]
    assert len(masks) >= 20
    is_output = layout.switch == np.arange(len(layout.switch))
    counts = np.array(
        [1 + len(set(layout.steps[mask & ~is_output])) for mask in masks]
    )  # step 0 has no genes
    assert (counts <= 5).sum() >= 4
    assert (counts >= 9).sum() >= 4
    known = {genome.tobytes() for genome in genomes}
    assert to_genome(heuristic("all", shape)).tobytes() in known
    for interval in (2, 3, 4):
        assert to_genome(heuristic(f"fora:{interval}", shape)).tobytes() in known
    # In steps that recompute nothing, of some masks nothing runs, of others what surrounds the blocks.
    sparse = masks[counts <= 10]
    run_throughout = sparse[:, is_output].all(axis=1)
    assert 3 <= run_throughout.sum() <= len(sparse) - 3


def test_heuristics_of_components_begin_as_they_are() -> None:
    attention = to_genome(heuristic("attn:2", SHAPE)).tobytes()
    for finest, is_there in (("blocks", True), ("components", True), ("steps", False)):
        genomes = initial_genomes(SHAPE, 24, np.random.default_rng(0), finest)  # type: ignore[arg-type]
        assert (attention in {genome.tobytes() for genome in genomes}) == is_there


@pytest.mark.parametrize("population", range(2, 13))
def test_as_many_initial_genomes_as_asked_for_with_few_steps(population: int) -> None:
    """Three steps have four step masks; the others are of components and blocks."""
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 1})
    genomes = initial_genomes(shape, population, np.random.default_rng(0))
    assert len({genome.tobytes() for genome in genomes}) == len(genomes) == population
