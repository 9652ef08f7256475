"""Whether one schedule is worse than another one, or was only unlucky in the images on which they were compared."""

from __future__ import annotations

import math

import numpy as np

from ecad.records import Evaluation


def is_worse_by(evaluation: Evaluation, other: Evaluation, errors: float) -> bool:
    """Whether its mean score is lower by more than so many standard errors of the paired differences of their images'
    scores; of a single image, whether it is lower at all."""
    differences = np.array(other.scores) - np.array(evaluation.scores)
    if len(differences) < 2:
        return bool(differences.mean() > 0)
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return bool(differences.mean() > errors * error)
