"""Timing several things in turn, by a clock of our own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ecad.errors import ConfigError
from ecad.measuring.timing import LatencyMeasurement, measure_interleaved, measure_latency


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Callable[[], None]:
        """A run that takes the seconds in turn, the last ones for ever."""
        durations = itertools.chain(seconds, itertools.repeat(seconds[-1]))

        def run() -> None:
            self.now += next(durations)

        return run


class TestMeasurement:
    def test_seconds_per_image_without_warmup(self) -> None:
        clock = Clock()
        run = clock.work(50.0, 40.0, 2.0, 4.0, 3.0)
        measured = measure_latency(run, repeats=3, warmup=2, images=2, clock=clock)
        assert measured == LatencyMeasurement((1.0, 2.0, 1.5))
        assert measured.median_s == 1.5
        assert measured.spread == pytest.approx(1.0 / 1.5)

    def test_interleaved_runs_take_turns(self) -> None:
        clock = Clock()
        order: list[str] = []

        def run(name: str, seconds: float) -> Callable[[], None]:
            def work() -> None:
                order.append(name)
                clock.now += seconds

            return work

        runs = {"plain": run("plain", 4.0), "cached": run("cached", 1.0)}
        measured = measure_interleaved(runs, repeats=2, warmup=1, images=4, clock=clock)
        assert order == ["plain", "cached"] * 3
        assert list(measured) == ["plain", "cached"]
        assert measured["plain"].samples_s == (1.0, 1.0)
        assert measured["cached"].samples_s == (0.25, 0.25)

    def test_synchronize_is_waited_for_and_counted(self) -> None:
        """Work that is pending before a run is not charged to it; work that the run leaves behind is."""
        clock = Clock()
        pending = [7.0]

        def run() -> None:
            pending.append(2.0)

        def synchronize() -> None:
            clock.now += sum(pending)
            pending.clear()

        measured = measure_latency(run, repeats=2, warmup=0, images=1, synchronize=synchronize, clock=clock)
        assert measured.samples_s == (2.0, 2.0)

    def test_real_clock(self) -> None:
        measured = measure_latency(lambda: sum(range(1000)), repeats=3, warmup=0, images=1)
        assert len(measured.samples_s) == 3
        assert measured.median_s > 0.0

    @pytest.mark.parametrize("wrong", [{"repeats": 0}, {"warmup": -1}, {"images": 0}])
    def test_bad_numbers(self, wrong: dict[str, int]) -> None:
        settings: dict[str, Any] = {"repeats": 1, "warmup": 0, "images": 1, **wrong}
        with pytest.raises(ConfigError, match="timing"):
            measure_latency(lambda: None, **settings)

    def test_nothing_to_measure(self) -> None:
        with pytest.raises(ConfigError, match="timing"):
            measure_interleaved({}, repeats=1, warmup=0, images=1)
