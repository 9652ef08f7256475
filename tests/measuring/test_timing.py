"""Timing several things in turn, by the seconds that they say they took, also where something disturbs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ecad.errors import ConfigError
from ecad.measuring.rows import Spread
from ecad.measuring.timing import (
    FURTHER_ROUNDS,
    LatencyMeasurement,
    Work,
    doubtful,
    measure_interleaved,
)


class TestMeasurement:
    def test_seconds_per_image_without_warmup(self) -> None:
        seconds = iter([50.0, 40.0, 2.0, 2.1, 2.08])
        measured = measure_interleaved({"": lambda: next(seconds)}, repeats=3, warmup=2, images=2)[""]
        assert measured == LatencyMeasurement((1.0, 1.05, 1.04))
        assert measured.median_s == 1.04

    def test_what_is_far_over_the_fastest_is_left_out(self) -> None:
        measured = LatencyMeasurement((3.38, 0.8, 0.84, 0.79, 0.8, 3.0))
        assert measured.undisturbed_s == (0.8, 0.84, 0.79, 0.8)
        assert measured.median_s == 0.8
        # numpy's quartiles of .79, .80, .80, .84: at .75 and 2.25 of the way from the first to the last.
        assert measured.spread == pytest.approx(Spread(0.7975, 0.81, 6, 2))
        assert measured.is_confirmed
        assert not LatencyMeasurement((0.8, 3.38)).is_confirmed
        assert not LatencyMeasurement((0.8,)).is_confirmed

    def test_interleaved_runs_take_turns(self) -> None:
        order: list[str] = []

        def run(name: str, seconds: float) -> Callable[[], float]:
            def work() -> float:
                order.append(name)
                return seconds

            return work

        runs = {"plain": run("plain", 4.0), "cached": run("cached", 1.0)}
        measured = measure_interleaved(runs, repeats=2, warmup=1, images=4)
        assert order == ["plain", "cached"] * 3
        assert list(measured) == ["plain", "cached"]
        assert measured["plain"].samples_s == (1.0, 1.0)
        assert measured["cached"].samples_s == (0.25, 0.25)

    def test_what_nothing_confirms_is_timed_again_but_not_for_ever(self) -> None:
        calls = iter(range(1, 100))
        measured = measure_interleaved({"": lambda: float(2 ** next(calls))}, repeats=2, warmup=0, images=1)[
            ""
        ]
        assert len(measured.samples_s) == 2 + FURTHER_ROUNDS
        once = measure_interleaved({"": lambda: 1.0}, repeats=1, warmup=0, images=1)[""]
        assert once.samples_s == (1.0,)

    @pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}, {"images": 0}])
    def test_bad_numbers(self, wrong: dict[str, int]) -> None:
        settings: dict[str, Any] = {"repeats": 1, "warmup": 0, "images": 1, **wrong}
        with pytest.raises(ConfigError, match="timing"):
            measure_interleaved({"": lambda: 1.0}, **settings)

    def test_nothing_to_measure(self) -> None:
        with pytest.raises(ConfigError, match="timing"):
            measure_interleaved({}, repeats=1, warmup=0, images=1)


class TestDoubt:
    def test_what_takes_longer_than_its_work_allows(self) -> None:
        seconds = {"uncached": 3.0, "half": 1.2, "mixed": 1.0, "other": 9.0}
        measured = {name: LatencyMeasurement((value, value)) for name, value in seconds.items()}
        work: dict[str, Work] = {
            "uncached": {("", "attn"): 20.0, ("", "ff"): 20.0, ("", "none"): 0.0},
            "half": {("", "attn"): 10.0, ("", "ff"): 10.0, ("", "none"): 0.0},
            "mixed": {("", "attn"): 2.0, ("", "ff"): 10.0, ("", "none"): 0.0},
        }
        # Twice the work of "half" allows 2.4 s, and 10 % more; "other" cannot be compared.
        assert doubtful(measured, work) == ["uncached"]
        assert doubtful(measured) == []
        measured["uncached"] = LatencyMeasurement((2.6, 2.6))
        assert doubtful(measured, work) == []
        # "mixed" does no more of anything than "half".
        measured["mixed"] = LatencyMeasurement((1.4, 1.4))
        assert doubtful(measured, work) == ["mixed"]


class FakeMachine:
    """A clock that runs takes seconds off; in between something else makes everything slower."""

    def __init__(self, busy: tuple[float, float], factor: float, seed: int = 0) -> None:
        self.now, self.busy, self.factor = 0.0, busy, factor
        self.rng = np.random.default_rng(seed)

    def run(self, seconds: float) -> Callable[[], float]:
        def work() -> float:
            slower = self.factor if self.busy[0] <= self.now < self.busy[1] else 1.0
            taken = seconds * slower * float(self.rng.normal(1.0, 0.01))
            self.now += taken
            return taken

        return work


@pytest.mark.parametrize("factor", [1.3, 4.2])
@pytest.mark.parametrize("start", range(0, 200, 20))
@pytest.mark.parametrize("repeats", [2, 3])
def test_a_disturbed_minute_changes_no_row_by_more_than_some_per_cent(
    factor: float, start: int, repeats: int
) -> None:
    """Thirty rows of 1 to 4 seconds: a round takes 75 seconds, and one of those minutes is disturbed."""
    true = {f"row {number}": 1.0 + 0.1 * number for number in range(31)}
    work: dict[str, Work] = {name: {("", "steps"): seconds} for name, seconds in true.items()}
    machine = FakeMachine((float(start), start + 60.0), factor)
    runs = {name: machine.run(seconds) for name, seconds in true.items()}
    measured = measure_interleaved(runs, repeats=repeats, warmup=0, images=1, work=work)
    for name, seconds in true.items():
        assert measured[name].median_s == pytest.approx(seconds, rel=0.04), name
        assert measured[name].spread.low_s <= measured[name].median_s <= measured[name].spread.high_s


def test_a_row_that_was_disturbed_each_time_is_found_by_its_work() -> None:
    """Both timings of one row read four times too long, as if a job ran each time: what does more was faster."""
    readings = {"slow": iter([4.0, 4.1, 1.0, 1.01, 1.0]), "more": iter([2.0] * 9), "less": iter([0.9] * 9)}
    work: dict[str, Work] = {
        "slow": {("", "steps"): 10},
        "more": {("", "steps"): 20},
        "less": {("", "steps"): 9},
    }
    runs = {name: (lambda values=values: next(values)) for name, values in readings.items()}  # type: ignore[misc]
    measured = measure_interleaved(runs, repeats=2, warmup=0, images=1, work=work)
    assert measured["slow"].median_s == pytest.approx(1.0, rel=0.02)
    assert measured["slow"].spread.left_out == 2
    assert measured["more"].samples_s == (2.0, 2.0)
