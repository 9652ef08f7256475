"""Judges of image quality, by name."""

from __future__ import annotations

from ecad.errors import ConfigError
from ecad.evaluation.evaluator import Scorer

SCORERS = ("alignment",)


def make_scorer(name: str) -> Scorer:
    """The scorer called `name`."""
    if name == "alignment":
        from ecad.evaluation.scorers.alignment import AlignmentScorer

        return AlignmentScorer()
    raise ConfigError(f"unknown quality {name!r}: use one of {', '.join(SCORERS)}")
