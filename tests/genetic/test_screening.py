"""Which children are asked for: those that a model of the answers expects to add most to the front."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.arrays import BoolArray, FloatArray, IntArray
from ecad.genetic.front import hypervolume
from ecad.genetic.nsga2 import GeneticSearch
from ecad.genetic.operators import Variation
from ecad.genetic.screening import Screening, _gains, _most_promising, _root_losses
from ecad.schedule import ScheduleShape, gene_layout, genome_length

GENES = 20


def describe(genomes: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Cost is the number of ones; features are the genes."""
    return genomes.sum(axis=1).astype(float), genomes.astype(float)


def loss(genomes: BoolArray) -> FloatArray:
    """The first half of the genes help, the others only cost."""
    return np.asarray(-genomes[:, : GENES // 2].sum(axis=1).astype(float))


def objectives(genomes: BoolArray) -> FloatArray:
    return np.stack([describe(genomes)[0], loss(genomes)], axis=1)


def random_genomes(count: int, seed: int) -> BoolArray:
    return np.asarray(np.random.default_rng(seed).random((count, GENES)) < 0.5)


def test_the_chosen_ones_are_better_than_the_rest() -> None:
    screening = Screening(describe)
    known = random_genomes(40, 0)
    screening.tell(known, objectives(known))
    children = random_genomes(120, 1)
    chosen = screening.choose(children, 12)
    assert len(set(chosen)) == 12
    # One in six is not screened: children 5 and 11 of the first twelve.
    assert {5, 11} <= set(chosen)
    screened = [index for index in chosen if index not in (5, 11)]
    balance = loss(children) + 0.5 * describe(children)[0]  # smaller: more quality for its cost
    assert balance[screened].mean() < np.quantile(balance, 0.2)


def test_without_answers_the_first_children_are_taken() -> None:
    screening = Screening(describe)
    assert screening.choose(random_genomes(30, 0), 4) == [0, 1, 2, 3]
    known = random_genomes(11, 1)
    screening.tell(known, objectives(known))
    assert screening.choose(random_genomes(30, 0), 4) == [0, 1, 2, 3]


def test_failures_are_the_worst_and_not_what_is_looked_for() -> None:
    screening = Screening(describe)
    known = random_genomes(40, 0)
    values = objectives(known)
    ruined = known[:, 0]
    values[ruined] = np.nan
    screening.tell(known, values)
    children = random_genomes(200, 1)
    chosen = [index for index in screening.choose(children, 30) if index % 6 != 5 or index >= 30]
    assert children[chosen, 0].mean() < 0.25


def test_kinds_get_shares_of_the_questions_by_their_successes() -> None:
    """Children with gene 0 are of kind 1. Half of them reach the front, of the others none."""

    def kinds_of(genomes: BoolArray) -> IntArray:
        return genomes[:, 0].astype(np.int64)

    screening = Screening(describe, kinds_of)
    known = random_genomes(40, 0)
    screening.tell(known, objectives(known))
    children = random_genomes(200, 1)

    def of_kind_1(count: int) -> int:
        screened = [index for index in screening.choose(children, count) if index % 6 != 5 or index >= count]
        return int(children[screened, 0].sum())

    assert of_kind_1(24) == 10  # of 20: nothing is known yet
    further = random_genomes(40, 2)
    values = objectives(further)
    values[:, 0] = 20.0  # as dear as possible: all are compared with the best so far
    values[:, 1] = 0.0
    values[further[:, 0] & (np.arange(40) % 2 == 0), 1] = -20.0
    values[~further[:, 0]] = np.nan, -50.0  # failed, whatever the loss
    screening.tell(further, values)
    weights = 0.97 ** np.arange(39, -1, -1)  # the newest answer counts most
    asked, others = weights[further[:, 0]].sum(), weights[~further[:, 0]].sum()
    rate, other = (weights[values[:, 1] == -20.0].sum() + 1) / (asked + 2), 1 / (others + 2)
    assert of_kind_1(24) == round(20 * rate / (rate + other))
    assert of_kind_1(24) > 15


def test_where_no_gain_is_expected_the_least_surprise_is_asked_for() -> None:
    """The front is at losses 0.1, 0.5 for costs 2, 1. The reference is (3, 1)."""
    points, reference, view = [(2.0, 0.1), (1.0, 0.5)], (3.0, 1.0), (0.0, 1)
    costs = np.array([2.5, 1.5, 1.5, 0.5])
    means = np.array([0.18, 0.6, 0.7, 1.1])

    def asked(deviations: list[float], candidates: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[int, float]:
        return _most_promising(
            np.array(candidates), costs, means, np.array(deviations), points, reference, view
        )

    # 1 gains with two deviations, 2 with more than four, 0 and 3 never.
    assert asked([0.0, 0.08, 0.04, 0.0]) == (1, pytest.approx(0.6 - 2 * 0.08))
    # With four also 2, which has more room below it.
    assert asked([0.0, 0.03, 0.06, 0.0]) == (2, pytest.approx(0.7 - 4 * 0.06))
    # None can gain: the nearest is 0, .08 behind; the cheapest is .1 above the worst that counts.
    assert asked([0.0] * 4, (0, 1, 2)) == (0, 0.18)
    assert asked([0.0] * 4, (1, 2, 3)) == (1, 0.6)
    assert asked([0.0] * 4, (2, 3)) == (3, 1.1)


def test_what_is_below_the_limit_counts_as_at_most_twice_the_worst() -> None:
    """Losses against the best, -9: 0, 4, and of what is not looked for 5, 100, less than the worst, and none."""
    losses = np.array([-9.0, -5.0, -4.0, 91.0, -8.0, np.nan])
    known = np.array([True, True, False, False, False, False])
    np.testing.assert_allclose(_root_losses(losses, known) ** 2, [0.0, 4.0, 5.0, 8.0, 4.0, 8.0])


def test_a_search_with_screening_finds_more_for_the_same_number_of_questions() -> None:
    shape = ScheduleShape("pixart", 8, {"transformer_blocks": 2})
    layout = gene_layout(shape)
    useful = np.random.default_rng(5).random(genome_length(shape)) < 0.3

    def cost_and_features(genomes: BoolArray) -> tuple[FloatArray, FloatArray]:
        return np.log(1 + genomes.sum(axis=1)), genomes.astype(float)

    def answer(genomes: BoolArray) -> FloatArray:
        return np.stack([cost_and_features(genomes)[0], -genomes[:, useful].sum(axis=1)], axis=1)

    def found(screened: bool, seed: int) -> float:
        rng = np.random.default_rng(seed)
        initial = rng.random((12, genome_length(shape))) < rng.random((12, 1))
        search = GeneticSearch(
            initial,
            Variation(layout, coarse_populations=0),
            seed=seed,
            screening=Screening(cost_and_features) if screened else None,
        )
        best = 0.0
        for _ in range(6):
            genomes = search.ask()
            values = answer(genomes)
            search.tell(genomes, values)
            best = min(best, float((values[:, 1] + 0.2 * genomes.sum(axis=1)).min()))
        return best

    seeds = range(4)
    assert sum(found(True, seed) for seed in seeds) < sum(found(False, seed) for seed in seeds)


@pytest.mark.parametrize("count", [1, 7])
def test_the_same_answers_give_the_same_choice(count: int) -> None:
    known, children = random_genomes(40, 0), random_genomes(60, 1)
    choices = []
    for _ in range(2):
        screening = Screening(describe)
        for part in (known[:25], known[25:]):
            screening.tell(part, objectives(part))
        choices.append(screening.choose(children, count))
    assert choices[0] == choices[1]
    assert len(choices[0]) == count


def test_gains_are_differences_of_hypervolumes() -> None:
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.uniform(0.3, 1.0, (12, 2)).tolist()]
    costs, losses = rng.random((2, 40))
    reference = (0.9, 0.8)  # some points are beyond it

    def volume(given: list[tuple[float, ...]]) -> float:
        return hypervolume([p[0] for p in given], [-p[1] for p in given], reference[0], -reference[1])

    expected = [volume([*points, point]) - volume(points) for point in zip(costs, losses, strict=True)]
    np.testing.assert_allclose(_gains(points, costs, losses, reference), expected, atol=1e-12)
    assert max(expected) > 0
    assert min(expected) == 0
