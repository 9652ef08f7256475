"""Judges of image quality, by name."""

from ecad.evaluation.scorers.base import Scorer, Scores, SetScorer, check_scores
from ecad.evaluation.scorers.registry import SCORERS, SET_SCORERS, make_scorer, make_set_scorer
from ecad.evaluation.scorers.weighted import as_quality

__all__ = [
    "SCORERS",
    "SET_SCORERS",
    "Scorer",
    "Scores",
    "SetScorer",
    "as_quality",
    "check_scores",
    "make_scorer",
    "make_set_scorer",
]
