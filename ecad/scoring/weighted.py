"""Scorers as the search's quality, which is maximised: distances are negated, and several can be weighted."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ecad.arrays import Images, Scores
from ecad.errors import ConfigError
from ecad.scoring.base import Scorer

# "0.7*image-reward+0.3*clip": a plus sign separates only before another weight, since names and paths may hold one.
_SEPARATOR = re.compile(r"\+(?=\s*[0-9.]+(?:[eE][+-]?[0-9]+)?\s*\*)")
_TERM = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*(\S.*?)\s*")


class WeightedScorer:
    """A weighted sum of scores, each turned so that higher is better. The scores keep their own units."""

    higher_is_better = True

    def __init__(self, terms: Sequence[tuple[float, Scorer]]) -> None:
        if not terms:
            raise ConfigError("a weighted quality needs at least one WEIGHT*METRIC")
        self.terms = tuple(terms)
        self.name = "+".join(f"{weight:g}*{scorer.name}" for weight, scorer in terms)
        self.needs_reference = any(scorer.needs_reference for _, scorer in terms)

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        total = np.zeros(len(images), np.float64)
        for weight, scorer in self.terms:
            sign = 1.0 if scorer.higher_is_better else -1.0
            total += sign * weight * scorer(prompts, images, references)
        return total

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Raise ConfigError if one of the scorers would."""
        for _, scorer in self.terms:
            scorer.check(prompts, height, width)


class NegatedScorer:
    """A distance as a quality: `lpips` becomes `-lpips`, of which more is better."""

    higher_is_better = True

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = f"-{scorer.name}"
        self.needs_reference = scorer.needs_reference

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        return -self.scorer(prompts, images, references)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """As the scorer's own."""
        self.scorer.check(prompts, height, width)


def parse_weighted(text: str) -> list[tuple[float, str]] | None:
    """[(weight, name), ...] of "0.7*image-reward+0.3*clip"; None if `text` is a plain name."""
    parts = _SEPARATOR.split(text)
    matches = [_TERM.fullmatch(part) for part in parts]
    if matches[0] is None:
        return None
    terms = []
    for part, match in zip(parts, matches, strict=True):
        try:
            weight = float(match[1]) if match is not None else 0.0
        except ValueError:
            weight = 0.0
        if match is None or not 0.0 < weight < float("inf"):
            raise ConfigError(
                f"{part.strip()!r} in the quality {text!r} is no WEIGHT*METRIC with a positive weight: write, for "
                "example, 0.7*image-reward+0.3*clip"
            )
        terms.append((weight, match[2]))
    return terms
