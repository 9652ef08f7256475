"""Means with 95 % bootstrap intervals, alone and paired."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_RESAMPLES = 10_000
_SEED = 20_240_601  # fixed: the same scores always give the same interval


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


def mean_interval(scores: FloatArray, images_per_prompt: int = 1) -> Interval:
    """Mean of the scores with its percentile-bootstrap interval (Efron and Tibshirani 1993, section 13).

    `scores` has shape (prompts * images_per_prompt,), a prompt's images next to each other. Prompts are
    resampled, not images: images of one prompt are not independent.
    """
    by_prompt = np.asarray(scores, dtype=np.float64).reshape(-1, images_per_prompt).mean(axis=1)
    rng = np.random.default_rng(_SEED)
    picks = rng.integers(len(by_prompt), size=(_RESAMPLES, len(by_prompt)))
    low, high = np.quantile(by_prompt[picks].mean(axis=1), [0.025, 0.975])
    return Interval(float(by_prompt.mean()), float(low), float(high))


def paired_interval(scores: FloatArray, baseline: FloatArray, images_per_prompt: int = 1) -> Interval:
    """Interval of the mean difference `scores - baseline`, image by image on the same prompts and seeds."""
    return mean_interval(np.asarray(scores) - np.asarray(baseline), images_per_prompt)
