"""Whether one schedule is worse than another one, or was only unlucky in the images on which they were compared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.special import erfcx

from ecad.records import Evaluation

# A mean that is higher by more standard errors than this is not only luck.
_SURE_GAIN = 3.0


def by_prompt(evaluation: Evaluation, seeds: int) -> Evaluation:
    """With one score a prompt, the mean over its seeds: luck is counted in prompts, whose images are alike."""
    if seeds == 1:
        return evaluation
    scores = np.array(evaluation.scores).reshape(-1, seeds).mean(axis=1)
    return replace(evaluation, scores=tuple(scores.tolist()))


def is_worse_by(evaluation: Evaluation, other: Evaluation, errors: float) -> bool:
    """Whether its mean score is lower by more than so many standard errors of the paired differences of their images'
    scores; of a single image, whether it is lower at all."""
    return errors_behind(evaluation, other) > errors


def errors_behind(evaluation: Evaluation, other: Evaluation) -> float:
    """By how many standard errors of the paired differences of their images' scores its mean score is lower; infinite
    where the difference is the same in every image, and of a single image."""
    difference, error = _difference(other, evaluation)
    if error > 0.0:
        return difference / error
    return math.copysign(math.inf, difference) if difference else 0.0


def probable_change(evaluation: Evaluation, uncached: Evaluation, doubt: float = 0.0) -> float:
    """By how much caching changes the mean score, negative where it loses, given that it hardly ever gains anything.

    Of many schedules that lose next to nothing some gain on the images that were made, by luck, and the more so the
    more their images differ. So what was measured, the mean of the paired differences with its standard error, meets
    the belief that any loss from 0 up is equally likely: a normal distribution that is cut off at 0 (Johnson, Kotz and
    Balakrishnan, Continuous Univariate Distributions 1, 1994, section 10.1). The answer is its mean, `doubt` of its
    standard deviations lower. Only what exceeds `_SURE_GAIN` standard errors counts as gained.
    """
    difference, error = _difference(evaluation, uncached)
    gained = max(0.0, difference - _SURE_GAIN * error)
    if error == 0.0:
        return gained + min(0.0, difference)
    # The density at 0 over the share that is left, in standard errors.
    cut = difference / error
    hazard = math.sqrt(2.0 / math.pi) / float(erfcx(cut / math.sqrt(2.0)))
    mean = hazard - cut
    deviation = math.sqrt(max(0.0, 1.0 - hazard * mean))
    return gained - error * (mean + doubt * deviation)


def _difference(evaluation: Evaluation, other: Evaluation) -> tuple[float, float]:
    """Mean and standard error of the paired differences of their scores; of a single image the error is 0."""
    differences = np.array(evaluation.scores) - np.array(other.scores)
    if len(differences) < 2:
        return float(differences.mean()), 0.0
    return float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
