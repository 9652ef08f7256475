"""Whether one schedule is worse than another one, or was only unlucky in the images on which they were compared."""

from __future__ import annotations

import math

import numpy as np

from ecad.records import Evaluation


def is_worse_by(evaluation: Evaluation, other: Evaluation, errors: float) -> bool:
    """Whether its mean score is lower by more than so many standard errors of the paired differences of their images'
    scores; of a single image, whether it is lower at all."""
    difference, error = _difference(other, evaluation)
    return difference > errors * error


def sure_change(evaluation: Evaluation, uncached: Evaluation, errors: float) -> float:
    """How the mean score surely changes by caching: the lower end of an interval of so many standard errors of the
    paired differences, at most 0, as caching improves no image but by luck."""
    difference, error = _difference(evaluation, uncached)
    return min(difference - errors * error, 0.0)


def _difference(evaluation: Evaluation, other: Evaluation) -> tuple[float, float]:
    """Mean and standard error of the paired differences of their scores; of a single image the error is 0."""
    differences = np.array(evaluation.scores) - np.array(other.scores)
    if len(differences) < 2:
        return float(differences.mean()), 0.0
    return float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
