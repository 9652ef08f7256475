"""Timing several things side by side. What is timed are functions without arguments."""

from __future__ import annotations

import time
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


def measure_latency(
    run: Callable[[], object],
    *,
    repeats: int,
    warmup: int,
    images: int,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyMeasurement:
    """Time one run of `images` images; see `measure_interleaved`, which is the fair way to compare several."""
    return measure_interleaved(
        {"": run}, repeats=repeats, warmup=warmup, images=images, synchronize=synchronize, clock=clock
    )[""]


def measure_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    images: int,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, LatencyMeasurement]:
    """Time several runs of `images` images each, in turn, so that the machine's noise hits all alike.

    Every run is made `warmup` times without and then `repeats` times with taking its time, in seconds of
    `clock`. A run must have finished its work when it returns (an image on the CPU is enough on a GPU), or
    `synchronize` must wait for it, for example `torch.cuda.synchronize`; it is called before both clock readings.
    """
    if not runs or repeats < 1 or warmup < 0 or images < 1:
        raise ConfigError(
            "timing needs at least 1 run, 1 repeat, 1 image and no negative number of warm-ups, "
            f"not {len(runs)}, {repeats}, {images} and {warmup}"
        )
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(warmup + repeats):
        for name, run in runs.items():
            if synchronize is not None:
                synchronize()
            start = clock()
            run()
            if synchronize is not None:
                synchronize()
            seconds = clock() - start
            if repeat >= warmup:
                samples[name].append(seconds / images)
    return {name: LatencyMeasurement(tuple(values)) for name, values in samples.items()}
