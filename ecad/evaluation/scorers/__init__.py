"""Judges of image quality, by name."""

from __future__ import annotations

from ecad.errors import ConfigError
from ecad.evaluation.scorers.base import Scorer, SetScorer

SCORERS = ("alignment",)
SET_SCORERS: tuple[str, ...] = ()


def make_scorer(name: str) -> Scorer:
    """The scorer called `name`."""
    if name == "alignment":
        from ecad.evaluation.scorers.alignment import AlignmentScorer

        return AlignmentScorer()  # type: ignore[return-value]
    raise ConfigError(f"unknown quality {name!r}: use one of {', '.join(SCORERS)}")


def make_set_scorer(name: str) -> SetScorer:
    """The scorer of whole sets called `name`."""
    raise ConfigError(f"unknown metric {name!r}: use one of {', '.join((*SCORERS, *SET_SCORERS))}")
