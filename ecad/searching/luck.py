"""Whether one schedule is worse than another one, or was only unlucky in the images on which they were compared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ecad.records import Evaluation


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


def sure_change(evaluation: Evaluation, uncached: Evaluation, errors: float) -> float:
    """By how much caching changes the mean score at least (it is negative where it may lose): the lower end of an
    interval of so many standard errors of the paired differences."""
    difference, error = _difference(evaluation, uncached)
    return difference - errors * error


def _difference(evaluation: Evaluation, other: Evaluation) -> tuple[float, float]:
    """Mean and standard error of the paired differences of their scores; of a single image the error is 0."""
    differences = np.array(evaluation.scores) - np.array(other.scores)
    if len(differences) < 2:
        return float(differences.mean()), 0.0
    return float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
