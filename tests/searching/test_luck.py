"""What is worse, and what was only unlucky."""

from __future__ import annotations

import pytest

from ecad.records import Evaluation
from ecad.searching.luck import by_prompt, is_worse_by, sure_change


def result(*scores: float) -> Evaluation:
    return Evaluation(key="", cost=0.5, quality=sum(scores) / len(scores), scores=scores, macs=1)


BEFORE = result(0.9, 0.7, 0.8, 0.6)
# -.1, 0, -.2, 0: mean -.075, standard deviation .0957, standard error .0479.
AFTER = result(0.8, 0.7, 0.6, 0.6)


def test_by_hand() -> None:
    assert sure_change(AFTER, BEFORE, 0.0) == pytest.approx(-0.075)
    assert sure_change(AFTER, BEFORE, 1.0) == pytest.approx(-0.075 - 0.09574 / 2, abs=1e-5)
    assert is_worse_by(AFTER, BEFORE, 1.5)
    assert not is_worse_by(AFTER, BEFORE, 1.6)
    assert not is_worse_by(BEFORE, AFTER, 0.0)


def test_a_single_image_has_no_error() -> None:
    assert sure_change(result(0.5), result(0.7), 1.0) == pytest.approx(-0.2)
    assert is_worse_by(result(0.5), result(0.7), 9.0)


def test_seeds_of_a_prompt_count_as_one() -> None:
    """Two prompts with two seeds each: -.05 and -.1."""
    before, after = by_prompt(BEFORE, 2), by_prompt(AFTER, 2)
    assert before.scores == pytest.approx((0.8, 0.7))
    assert after.scores == pytest.approx((0.75, 0.6))
    assert after.quality == AFTER.quality
    assert sure_change(after, before, 1.0) == pytest.approx(-0.075 - 0.025)
    assert by_prompt(BEFORE, 1) is BEFORE
