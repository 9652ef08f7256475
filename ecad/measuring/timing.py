"""Timing several things side by side, on a machine that now and then does something else for a minute.

What else runs on a machine only ever makes a timing slower, mostly for a while. So all things are timed in turn, a
round of all of them apart; of each thing's timings those count that are within `DISTURBED` of its fastest; and what is
in doubt then (`doubtful`) is timed again, in further rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecad.errors import ConfigError
from ecad.measuring.rows import Spread

# How much slower (relatively) than the fastest timing of the same thing one may be and still count.
DISTURBED = 0.10

# How often what is in doubt is timed again at most.
FURTHER_ROUNDS = 3

# What a table says of its times: in the report of a search, and where those in doubt are timed again.
HOW_TIMED = (
    "times are medians, with quartiles, of timings a round of all rows apart; those more than "
    f"{DISTURBED:.0%} over their row's fastest are left out"
)
HOW_TIMED_AGAIN = (
    f"{HOW_TIMED}, and rows without a second timing that agrees, or slower than their work allows, are timed "
    "again"
)

# What something has to do: how often each kind of work is done for an image. Time grows with it.
Work = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class LatencyMeasurement:
    """Seconds per image of every timing, in the order in which they were measured."""

    samples_s: tuple[float, ...]

    @property
    def undisturbed_s(self) -> tuple[float, ...]:
        """Those within `DISTURBED` of the fastest."""
        limit = min(self.samples_s) * (1.0 + DISTURBED)
        return tuple(sample for sample in self.samples_s if sample <= limit)

    @property
    def median_s(self) -> float:
        """Median of the undisturbed seconds per image."""
        return float(np.median(self.undisturbed_s))

    @property
    def is_confirmed(self) -> bool:
        """Whether a second timing says what the fastest one says."""
        return len(self.undisturbed_s) > 1

    @property
    def spread(self) -> Spread:
        """Quartiles of the undisturbed ones, and how many were left out."""
        low, high = np.quantile(self.undisturbed_s, [0.25, 0.75]).tolist()
        count = len(self.samples_s)
        return Spread(low, high, count, count - len(self.undisturbed_s))


def doubtful(measured: Mapping[str, LatencyMeasurement], work: Mapping[str, Work] | None = None) -> list[str]:
    """What should be timed again: what no second timing confirms, and what takes longer than its work allows.

    `work` is of those that can be compared, all of the same kinds. Where time is a constant and so much for each kind
    of work, a thing that does no kind of work more than k times as often as another one takes at most k times as long
    (and no longer, where it does nothing more often). One that is slower than that by more than `DISTURBED` was
    probably disturbed in all of its timings.
    """
    names = [name for name, item in measured.items() if not item.is_confirmed]
    compared = [name for name in measured if name in (work or {})]
    if work is None or len(compared) < 2:
        return names
    amounts = np.array([list(work[name].values()) for name in compared])  # (things, kinds)
    amounts = amounts[:, (amounts > 0).any(axis=0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        # (things, things, kinds): how many times as much the first one does; 0 of what neither does.
        times = np.nan_to_num(amounts[:, None] / amounts[None, :], nan=0.0, posinf=np.inf)
    most_times = np.maximum(times.max(axis=2), 1.0)
    seconds = np.array([measured[name].median_s for name in compared])
    allowed = (seconds[None, :] * most_times).min(axis=1)
    slow = {
        name
        for name, one, most in zip(compared, seconds, allowed, strict=True)
        if one > most * (1 + DISTURBED)
    }
    return [name for name in measured if name in slow or name in names]


def measure_interleaved(
    runs: Mapping[str, Callable[[], float]],
    *,
    repeats: int,
    warmup: int,
    images: int,
    work: Mapping[str, Work] | None = None,
) -> dict[str, LatencyMeasurement]:
    """Time several runs of `images` images each, in turn, so that the machine's noise hits all alike.

    A run returns the seconds that it took: it knows what of its work counts (`Sampler.sample_timed`). Each is made
    `warmup` times for nothing and then `repeats` times; what is in doubt then (`doubtful`), up to `FURTHER_ROUNDS`
    times more, if it may be repeated at all.
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
    for _ in range(FURTHER_ROUNDS if repeats > 1 else 0):
        for name in doubtful(_measured(samples), work):
            samples[name].append(runs[name]() / images)
    return _measured(samples)


def _measured(samples: Mapping[str, Sequence[float]]) -> dict[str, LatencyMeasurement]:
    return {name: LatencyMeasurement(tuple(values)) for name, values in samples.items()}
