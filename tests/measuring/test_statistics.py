"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.measuring.statistics import mean_interval, paired_interval


def test_close_to_the_normal_interval() -> None:
    scores = np.random.default_rng(0).normal(5.0, 2.0, 400)
    interval = mean_interval(scores)
    half_width = 1.96 * scores.std() / 20
    assert interval.mean == pytest.approx(scores.mean())
    assert interval.low == pytest.approx(scores.mean() - half_width, abs=0.03)
    assert interval.high == pytest.approx(scores.mean() + half_width, abs=0.03)
    assert mean_interval(scores) == interval  # the same scores, the same interval


def test_coverage() -> None:
    """About 95 of 100 intervals contain the true mean."""
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(0.0, 1.0, 60)) for _ in range(100)]
    assert 88 <= sum(not interval.excludes_zero for interval in intervals) <= 100


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.normal(0.0, 1.0, 100)
    better, worse = difficulty + 0.1 + rng.normal(0, 0.05, 100), difficulty + rng.normal(0, 0.05, 100)
    assert paired_interval(better, worse).excludes_zero
    assert paired_interval(better, worse).mean == pytest.approx((better - worse).mean())


def test_images_of_one_prompt_are_one_unit() -> None:
    """Ten equal images a prompt say no more than one."""
    scores = np.random.default_rng(3).normal(0.0, 1.0, 30)
    assert mean_interval(np.repeat(scores, 10), images_per_prompt=10) == pytest.approx(mean_interval(scores))
