"""Judges of image quality, by name."""

from ecad.scoring.base import Scorer, SetScorer, check_scores
from ecad.scoring.metric import Metric
from ecad.scoring.registry import (
    METRICS,
    as_quality,
    make_quality,
    make_scorer,
    make_set_scorer,
    metric_names,
    metric_of,
    register,
    registered,
)

__all__ = [
    "METRICS",
    "Metric",
    "Scorer",
    "SetScorer",
    "as_quality",
    "check_scores",
    "make_quality",
    "make_scorer",
    "make_set_scorer",
    "metric_names",
    "metric_of",
    "register",
    "registered",
]
