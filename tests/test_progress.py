"""The rate of progress, also where results come in bursts."""

from __future__ import annotations

import pytest

from ecad.progress import RateWindow


def test_the_last_minute_counts() -> None:
    rate = RateWindow()
    assert rate.per_second == 0.0
    for second in range(101):
        rate.add(float(second), 2 * min(second, 30) + max(0, second - 30))
    assert rate.per_second == pytest.approx(1.0)  # two a second until the 30th, one since
    rate.clear()
    assert rate.per_second == 0.0


def test_bursts_do_not_look_like_speed() -> None:
    """Four results at once every five minutes."""
    rate = RateWindow()
    rate.add(0.0, 0)
    for burst in range(1, 5):
        for number in range(1, 5):
            rate.add(300.0 * burst + 0.001 * number, 4 * (burst - 1) + number)
        assert rate.per_second == pytest.approx(4 / 300, rel=0.01)


def test_results_of_an_earlier_start_are_no_speed() -> None:
    rate = RateWindow()
    for number in range(5):
        rate.add(0.001 * number, number)
    assert rate.per_second == 0.0
    rate.add(10.0, 6)
    assert rate.per_second == pytest.approx(0.6)
