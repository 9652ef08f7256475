"""The genetic search: no model, no images, only bits."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.schedule import ScheduleShape, from_genome, gene_groups, genome_length, heuristic, to_genome
from ecad.search import GeneticSearch, hypervolume, initial_genomes
from ecad.search.operators import MultiPointCrossover

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
GROUPS = gene_groups(SHAPE)
WEIGHTS = np.random.default_rng(0).random(genome_length(SHAPE))


def objectives(genomes: np.ndarray) -> np.ndarray:
    """A toy trade-off: cost is the share of ones, the loss is what zeros forgo, with unequal weights."""
    loss = ((~genomes) * WEIGHTS).sum(axis=1) / WEIGHTS.sum()
    return np.column_stack([genomes.mean(axis=1), loss**2])


def run(generations: int, seed: int = 0, population: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    search = GeneticSearch(
        initial_genomes(SHAPE, population, rng, 0.02), seed=seed, groups=GROUPS, mutation_rate=0.03
    )
    asked = []
    for _ in range(generations):
        genomes = search.ask()
        asked.append(genomes)
        search.tell(objectives(genomes))
    return asked


def test_same_seed_same_questions_other_seed_others() -> None:
    first, again, other = run(8), run(8), run(8, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    np.random.seed(3)  # noqa: NPY002 - the point of this test
    expected = np.random.random()  # noqa: NPY002
    first = run(4)
    np.random.seed(3)  # noqa: NPY002
    again = run(4)
    assert np.random.random() == expected  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_no_genome_is_asked_for_twice() -> None:
    genomes = np.concatenate(run(30))
    assert genomes.dtype == np.bool_
    assert len({genome.tobytes() for genome in genomes}) == len(genomes) == 30 * 12


def test_the_front_improves() -> None:
    def volume(genomes: np.ndarray) -> float:
        values = objectives(genomes)
        return hypervolume(values[:, 0].tolist(), (-values[:, 1]).tolist(), 1.0, -1.0)

    asked = run(40)
    assert volume(np.concatenate(asked)) > 1.05 * volume(asked[0])


def test_failed_evaluations_never_become_parents() -> None:
    """Genomes whose first gene is set fail (NaN): they must die out although they would be cheap."""
    search = GeneticSearch(initial_genomes(SHAPE, 16, np.random.default_rng(0), 0.02), seed=0, groups=GROUPS)
    for _ in range(15):
        genomes = search.ask()
        values = objectives(genomes)
        values[genomes[:, 0]] = np.nan
        search.tell(values)
    survivors = search._algorithm.pop.get("X").astype(bool)
    assert not survivors[:, 0].any()


def test_tell_wants_the_objectives_of_the_last_ask() -> None:
    search = GeneticSearch(initial_genomes(SHAPE, 8, np.random.default_rng(0), 0.02), seed=0, groups=GROUPS)
    search.ask()
    with pytest.raises(ValueError, match="last ask"):
        search.tell(np.zeros((3, 2)))


def test_an_exhausted_space_ends_the_search() -> None:
    """One block, two steps, three components: eight schedules in all."""
    shape = ScheduleShape("pixart", 2, {"transformer_blocks": 1})
    search = GeneticSearch(
        initial_genomes(shape, 4, np.random.default_rng(0), 0.3),
        seed=0,
        groups=gene_groups(shape),
        mutation_rate=0.3,
    )
    seen = 0
    for _ in range(20):
        genomes = search.ask()
        seen += len(genomes)
        if len(genomes) == 0:
            break
        search.tell(np.random.default_rng(seen).random((len(genomes), 2)))
    assert seen == 8


def test_crossover_swaps_between_two_and_four_points() -> None:
    crossover = MultiPointCrossover(2, 4, prob=1.0)
    parents = np.stack([np.zeros((200, 40), dtype=bool), np.ones((200, 40), dtype=bool)])
    children = crossover._do(None, parents, random_state=np.random.default_rng(0))
    changes = (np.diff(children[0].astype(int), axis=1) != 0).sum(axis=1)
    assert set(changes.tolist()) == {2, 3, 4}
    assert np.array_equal(children[0], ~children[1])


def test_mutation_keeps_the_number_of_ones() -> None:
    """A sparse genome stays sparse on average, and the share of flipped genes is the rate."""
    from ecad.search.operators import BalancedBitflip

    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        genomes = rng.random((400, 500)) < share
        mutated = BalancedBitflip(0.04, np.arange(500))._do(None, genomes, random_state=rng)
        assert (genomes ^ mutated).mean() == pytest.approx(0.04, rel=0.05)
        assert mutated.mean() == pytest.approx(genomes.mean(), abs=0.003)
    extreme = BalancedBitflip(0.04, np.arange(500))._do(
        None, np.zeros((400, 500), dtype=bool), random_state=rng
    )
    assert 0.01 < extreme.mean() < 0.03


def test_half_of_the_offspring_mutate_by_group() -> None:
    """In a genome of whole groups a group flip leaves whole groups."""
    from ecad.search.operators import BalancedBitflip

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 10)
    genomes = (rng.random((400, 50)) < 0.3)[:, groups]
    mutated = BalancedBitflip(0.04, groups)._do(None, genomes, random_state=rng)
    sums = mutated.reshape(400, 50, 10).sum(axis=2)
    whole = np.isin(sums, (0, 10)).all(axis=1)
    assert 0.4 < whole.mean() < 0.6
    assert (mutated ^ genomes).mean() == pytest.approx(0.04, rel=0.1)


def test_groups_are_steps_and_components() -> None:
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 2})
    assert gene_groups(shape).tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]


def test_initial_population() -> None:
    genomes = initial_genomes(SHAPE, 20, np.random.default_rng(0), 0.02)
    assert genomes.shape == (20, genome_length(SHAPE))
    assert len({genome.tobytes() for genome in genomes}) == 20
    # The ends of every front come first.
    assert from_genome(genomes[0], SHAPE) == heuristic("all", SHAPE)
    assert from_genome(genomes[1], SHAPE) == heuristic("mask:0", SHAPE)
    known = {genome.tobytes() for genome in genomes}
    assert to_genome(heuristic("fora:3", SHAPE)).tobytes() in known
    shares = genomes.mean(axis=1)
    assert (shares < 0.25).sum() >= 3
    assert (shares > 0.45).sum() >= 3


def test_too_large_a_population_is_refused() -> None:
    shape = ScheduleShape("pixart", 2, {"transformer_blocks": 1})
    with pytest.raises(ScheduleError, match="fewer than 9 different schedules"):
        initial_genomes(shape, 9, np.random.default_rng(0), 0.1)
