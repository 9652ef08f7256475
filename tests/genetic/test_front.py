"""Fronts and hypervolumes, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.genetic import hypervolume, nondominated
from ecad.genetic.front import FrontTracker, spread_by_doubt, spread_out


def test_nondominated_by_hand() -> None:
    costs = [0.5, 0.2, 0.8, 0.5, 0.3, 0.2]
    qualities = [0.9, 0.4, 0.9, 0.7, 0.6, 0.3]
    # 2 costs more than 0 for the same quality; 3 and 5 are worse than 0 and 1 at the same cost.
    assert nondominated(costs, qualities) == [1, 4, 0]


def test_equal_points_keep_the_first_and_nan_is_left_out() -> None:
    assert nondominated([0.5, 0.5, 0.1, np.inf], [0.5, 0.5, np.nan, 2.0]) == [0]
    assert nondominated([], []) == []


def test_hypervolume_by_hand() -> None:
    # Reference (1, 0): (0.2, 0.4) covers 0.8 x 0.4, (0.5, 0.9) adds 0.5 x 0.5.
    assert hypervolume([0.5, 0.2], [0.9, 0.4], 1.0, 0.0) == pytest.approx(0.32 + 0.25)
    assert hypervolume([1.5], [0.9], 1.0, 0.0) == 0.0
    assert hypervolume([0.5], [-0.1], 1.0, 0.0) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_equals_pymoo(seed: int) -> None:
    from pymoo.indicators.hv import HV

    rng = np.random.default_rng(seed)
    points = rng.random((30, 2))
    expected = HV(ref_point=np.array([1.0, 0.0]))(np.column_stack([points[:, 0], -points[:, 1]]))
    assert hypervolume(points[:, 0].tolist(), points[:, 1].tolist(), 1.0, 0.0) == pytest.approx(
        float(expected)
    )


def test_tracker_agrees_with_the_whole_set() -> None:
    rng = np.random.default_rng(1)
    costs, qualities = rng.random(50).tolist(), rng.random(50).tolist()
    tracker = FrontTracker()
    for cost, quality in zip(costs, qualities, strict=True):
        tracker.add(cost, quality)
    front = nondominated(costs, qualities)
    assert tracker.points == [(costs[index], qualities[index]) for index in front]
    assert tracker.hypervolume == pytest.approx(hypervolume(costs, qualities, 1.0, qualities[front[0]]))


def test_a_front_is_spread_out_over_its_costs() -> None:
    costs = [0.2, 0.3, 0.31, 0.5, 0.51, 0.8]
    qualities = [0.5, 0.7, 0.705, 0.9, 0.901, 0.95]
    # The pairs (3, 4) and (1, 2) are the nearest; of each, the cheaper one has more under it. Next is 1, beside an end.
    assert spread_out(range(6), costs, qualities) == [0, 5, 3, 1, 2, 4]
    assert spread_out([5, 0], costs, qualities) == [0, 5]
    assert spread_out([], costs, qualities) == []


def test_anything_is_spread_out_over_its_costs_by_doubt() -> None:
    costs = [0.2, 0.3, 0.31, 0.5, 0.5, 0.8]
    # 3 and 4 are the nearest, then 1 and 2, 0 and 1, 4 and 5.
    doubts = {0: 9.0, 1: 0.0, 2: 0.1, 3: 0.5, 4: 0.3, 5: 9.0}
    assert spread_by_doubt(doubts, costs, doubts) == [1, 4, 5, 0, 2, 3]
    # Ends are not spared: of two at the same cost the one that is more in doubt comes later.
    twins = {0: 2.0, 1: 0.0, 2: 0.1, 3: 0.0, 4: 2.0}
    assert spread_by_doubt(twins, [0.3, 0.3, 0.5, 0.8, 0.8], twins) == [1, 3, 2, 4, 0]
    assert spread_by_doubt({4: 0.0}, costs, {4: 0.0}) == [4]
    assert spread_by_doubt({}, costs, {}) == []


def test_of_two_neighbours_the_better_one_stays_where_it_is_much_better() -> None:
    # 2 instead of 1 costs 3 % more for .2 of quality.
    assert spread_out(range(4), [0.2, 0.3, 0.31, 0.5], [0.4, 0.5, 0.7, 0.75]) == [0, 3, 2, 1]
