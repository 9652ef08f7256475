"""The rate of progress, also where results come in bursts."""

from __future__ import annotations

import pytest

from ecad.progress import Progress, Rate, RateWindow


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


def at(
    phase: str, generation: int, evaluated: int, evaluations: int, images: tuple[int, int] = (0, 0)
) -> Progress:
    return Progress(
        phase, generation, 5, evaluated, 10, evaluations, [], 0.5, images, images_per_evaluation=8
    )


def test_what_is_left_of_a_search() -> None:
    """20 of 50 candidates, four evaluations in ten seconds, of which equal schedules took no time."""
    rate = Rate()
    assert rate.remaining_s is None
    rate.update(at("search", 2, 0, 8), 0.0)
    assert rate.remaining_s is None
    rate.update(at("search", 2, 10, 12), 10.0)
    assert (rate.per_second, rate.images_per_second) == (0.4, 3.2)
    assert rate.remaining_s == pytest.approx(30 / 0.4)
    assert rate.hypervolumes == [0.5]


def test_a_new_phase_starts_anew_and_counts_images() -> None:
    rate = Rate()
    rate.update(at("search", 5, 9, 49), 0.0)
    rate.update(at("search", 5, 10, 50), 10.0)
    rate.update(at("held-out", 5, 0, 50, (10, 50)), 20.0)
    assert rate.per_second == 0.0
    rate.update(at("held-out", 5, 0, 50, (30, 50)), 30.0)
    assert rate.per_second == rate.images_per_second == 2.0
    assert rate.remaining_s == 10.0
