"""Timing several things side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ecad.errors import ConfigError


@dataclass(frozen=True)
class LatencyMeasurement:
    """Seconds per image of every repeat, in the order in which they were measured."""

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median seconds per image: one disturbed repeat does not move it."""
        return float(np.median(self.samples_s))

    @property
    def spread(self) -> float:
        """(largest - smallest) / median, a ratio: 0.1 says that the repeats lie within 10 % of each other."""
        return (max(self.samples_s) - min(self.samples_s)) / self.median_s


def measure_interleaved(
    runs: Mapping[str, Callable[[], float]], *, repeats: int, warmup: int, images: int
) -> dict[str, LatencyMeasurement]:
    """Time several runs of `images` images each, in turn, so that the machine's noise hits all alike.

    A run returns the seconds that it took: it knows what of its work counts (`Sampler.sample_timed`). Each is made
    `warmup` times for nothing and then `repeats` times.
    """
    if not runs or repeats < 1 or warmup < 0 or images < 1:
        raise ConfigError(
            "timing needs at least 1 run, 1 repeat, 1 image and no negative number of warm-ups, "
            f"not {len(runs)}, {repeats}, {images} and {warmup}"
        )
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(warmup + repeats):
        for name, run in runs.items():
            seconds = run()
            if repeat >= warmup:
                samples[name].append(seconds / images)
    return {name: LatencyMeasurement(tuple(values)) for name, values in samples.items()}
