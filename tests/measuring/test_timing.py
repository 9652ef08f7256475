"""Timing several things in turn, by the seconds that they say they took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ecad.errors import ConfigError
from ecad.measuring.timing import LatencyMeasurement, measure_interleaved


class TestMeasurement:
    def test_seconds_per_image_without_warmup(self) -> None:
        seconds = iter([50.0, 40.0, 2.0, 4.0, 3.0])
        measured = measure_interleaved({"": lambda: next(seconds)}, repeats=3, warmup=2, images=2)[""]
        assert measured == LatencyMeasurement((1.0, 2.0, 1.5))
        assert measured.median_s == 1.5
        assert measured.spread == pytest.approx(1.0 / 1.5)

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

    @pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}, {"images": 0}])
    def test_bad_numbers(self, wrong: dict[str, int]) -> None:
        settings: dict[str, Any] = {"repeats": 1, "warmup": 0, "images": 1, **wrong}
        with pytest.raises(ConfigError, match="timing"):
            measure_interleaved({"": lambda: 1.0}, **settings)

    def test_nothing_to_measure(self) -> None:
        with pytest.raises(ConfigError, match="timing"):
            measure_interleaved({}, repeats=1, warmup=0, images=1)
