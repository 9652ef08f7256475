"""What is worse, and what was only unlucky."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import truncnorm

from ecad.records import Evaluation
from ecad.searching.luck import by_prompt, errors_behind, is_worse_by, probable_change


def result(*scores: float) -> Evaluation:
    return Evaluation(key="", cost=0.5, quality=sum(scores) / len(scores), scores=scores, macs=1)


BEFORE = result(0.9, 0.7, 0.8, 0.6)
# -.1, 0, -.2, 0: mean -.075, standard deviation .0957, standard error .0479.
AFTER = result(0.8, 0.7, 0.6, 0.6)


def test_by_hand() -> None:
    assert is_worse_by(AFTER, BEFORE, 1.5)
    assert not is_worse_by(AFTER, BEFORE, 1.6)
    assert not is_worse_by(BEFORE, AFTER, 0.0)


@pytest.mark.parametrize("errors", [-40.0, -2.0, 0.0, 1.5, 3.0])
def test_a_probable_change_is_that_of_a_normal_distribution_cut_off_at_zero(errors: float) -> None:
    """Differences with a mean of so many of their standard errors, which is .01."""
    noise = np.random.default_rng(0).normal(size=50)
    noise = 0.01 * math.sqrt(50) * (noise - noise.mean()) / noise.std(ddof=1)
    after, before = result(*(0.5 + noise + 0.01 * errors)), result(*[0.5] * 50)
    loss = truncnorm(errors, np.inf, loc=-0.01 * errors, scale=0.01)
    assert probable_change(after, before) == pytest.approx(-loss.mean(), abs=1e-9)
    assert probable_change(after, before, 1.0) == pytest.approx(-loss.mean() - loss.std(), abs=1e-7)


def test_a_gain_counts_where_it_is_sure() -> None:
    before = result(0.5, 0.5, 0.5, 0.5)
    assert probable_change(before, before, 1.0) == 0.0
    assert probable_change(result(0.6, 0.6, 0.6, 0.6), before, 1.0) == pytest.approx(0.1)
    # .01, .02, .03, .02: a mean of .02 with a standard error of .0041.
    assert 0.005 < probable_change(result(0.51, 0.52, 0.53, 0.52), before) < 0.02 - 3 * 0.004
    # .0, .02, .0, .02: .01 with one of .0058.
    assert probable_change(result(0.5, 0.52, 0.5, 0.52), before) < 0.0


def test_a_single_image_has_no_error() -> None:
    assert probable_change(result(0.5), result(0.7), 1.0) == pytest.approx(-0.2)
    assert errors_behind(result(0.5), result(0.7)) == math.inf
    assert errors_behind(result(0.7), result(0.5)) == -math.inf
    assert errors_behind(result(0.7), result(0.7)) == 0.0
    assert is_worse_by(result(0.5), result(0.7), 9.0)


def test_seeds_of_a_prompt_count_as_one() -> None:
    """Two prompts with two seeds each: -.05 and -.1."""
    before, after = by_prompt(BEFORE, 2), by_prompt(AFTER, 2)
    assert before.scores == pytest.approx((0.8, 0.7))
    assert after.scores == pytest.approx((0.75, 0.6))
    assert after.quality == AFTER.quality
    assert errors_behind(after, before) == pytest.approx(0.075 / 0.025)
    assert by_prompt(BEFORE, 1) is BEFORE
