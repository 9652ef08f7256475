"""What every scorer offers: one number per image (`Scorer`) or one for a whole set of images (`SetScorer`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ecad.arrays import FloatArray, Images, Scores
from ecad.errors import ConfigError, ScoreError


class Scorer(Protocol):
    """Judges images one by one, by their prompts or by reference images.

    An image's score does not depend on the others in the call (but for the last bits of floating point).
    """

    @property
    def name(self) -> str:
        """The name that `make_scorer` knows it by; it heads the column of a table."""

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def needs_reference(self) -> bool:
        """Whether it measures fidelity to the uncached model's image of the same prompt and seed."""

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        """Scores float64 (n,) of n images uint8 (n, height, width, 3), each with its prompt.

        `references`, of the images' shape, is ignored by a scorer that does not need it.
        Raises ConfigError if the numbers of prompts, images and references differ, or a needed one is missing.
        """

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Raise ConfigError, before anything is computed, if it cannot judge images of this size (pixels) by
        one of these prompts, or if a package or the weights that it needs are missing."""


class SetScorer(Protocol):
    """Judges a set of images as a whole, by the distance between its features and those of a reference set."""

    @property
    def name(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def features_name(self) -> str:
        """What the features are: two scorers of one name here (fid and kid) can share stored features."""

    def features(self, images: Images) -> FloatArray:
        """Features (n, dimensions) of images uint8 (n, height, width, 3).

        They can be stored and joined: features of two parts, one below the other, are those of the whole.
        """

    def distance(self, features: FloatArray, reference: Any) -> float:
        """The distance of features (n, dimensions) to a reference: features of another set, or its statistics
        as far as the metric allows them."""


def check_images(images: Images, what: str = "images") -> None:
    """Raise ConfigError unless `images` is uint8 (n, height, width, 3)."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        raise ConfigError(f"{what} must be uint8 (n, height, width, 3), not {array.dtype} {array.shape}")


def check_arguments(
    scorer: Scorer, prompts: Sequence[str], images: Images, references: Images | None = None
) -> None:
    """Raise ConfigError unless there is one prompt per image and, for a fidelity metric, one reference."""
    check_images(images)
    if len(prompts) != len(images):
        raise ConfigError(f"{len(prompts)} prompts for {len(images)} images: give one prompt per image")
    if not scorer.needs_reference:
        return
    if references is None:
        raise ConfigError(
            f"{scorer.name} compares each image with the uncached model's image of the same prompt and seed: "
            "give the references, or choose a metric that needs none (image-reward, clip)"
        )
    check_images(references, "references")
    if references.shape != images.shape:
        raise ConfigError(
            f"{scorer.name} needs references of the images' own shape {images.shape}, not {references.shape}"
        )


def check_scores(scorer: Scorer, scores: Scores, prompts: Sequence[str], whose: str = "an image") -> Scores:
    """The scores as given; raises ScoreError if one is not a finite number, or if there is not one per image."""
    if scores.shape != (len(prompts),):
        raise ScoreError(
            f"{scorer.name} gave scores of shape {scores.shape} for {len(prompts)} images: not one per image"
        )
    for index in np.flatnonzero(~np.isfinite(scores)).tolist():
        raise ScoreError(
            f"{scorer.name} gave {scores[index]} for {whose} of the prompt {prompts[index]!r}: a score must be "
            "a finite number (half precision may have overflowed: try --dtype float32)"
        )
    return scores
