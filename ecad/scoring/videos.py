"""Scorers of images on videos, uint8 (n, frames, height, width, 3): one score per video.

A metric that judges an image by its prompt judges a sample of the frames, evenly spaced from the first to the last: of
neighbours it would say the same twice. One that compares with the uncached video compares all frames. A video's score
is the mean over its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecad.arrays import FloatArray, Images, Scores
from ecad.errors import ConfigError
from ecad.scoring.base import Scorer, SetScorer
from ecad.scoring.weighted import NegatedScorer, WeightedScorer

SAMPLED_FRAMES = 3  # first, middle and last


def sampled_frames(frames: int) -> list[int]:
    """The numbers of the frames that stand for a video of so many."""
    count = min(frames, SAMPLED_FRAMES)
    return [round(place * (frames - 1) / max(1, count - 1)) for place in range(count)]


def frames_note(frames: int) -> dict[str, Any]:
    """What a report says about the frames of its videos."""
    return {"count": frames, "judged_by_prompt": sampled_frames(frames), "compared_with_uncached": "all"}


def strip(image: Images) -> Images:
    """The sampled frames of a video (frames, height, width, 3) side by side; an image as it is."""
    if image.ndim == 3:
        return image
    parts: Images = np.concatenate(list(image[sampled_frames(len(image))]), axis=1)
    return parts


def for_videos(scorer: Scorer) -> Scorer:
    """The same metric of videos. The parts of a weighted sum look at the frames that each needs."""
    if isinstance(scorer, WeightedScorer):
        return WeightedScorer([(weight, for_videos(part)) for weight, part in scorer.terms])
    if isinstance(scorer, NegatedScorer):
        return NegatedScorer(for_videos(scorer.scorer))
    return VideoScorer(scorer)


class VideoScorer:
    """The mean of an image metric over a video's frames: all if it needs references, else `sampled_frames`."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.higher_is_better = scorer.higher_is_better
        self.needs_reference = scorer.needs_reference

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        check_videos(self.name, images)
        if references is not None and references.shape != images.shape:
            raise ConfigError(
                f"{self.name} needs references of the videos' own shape {images.shape}, not {references.shape}"
            )
        frames = images.shape[1]
        chosen = list(range(frames)) if self.needs_reference else sampled_frames(frames)
        texts = [prompt for prompt in prompts for _ in chosen]
        compared = None if references is None else references[:, chosen]
        scores = self.scorer(
            texts, _as_images(images[:, chosen]), None if compared is None else _as_images(compared)
        )
        means: Scores = scores.reshape(-1, len(chosen)).mean(axis=1)
        return means

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """As the scorer's own."""
        self.scorer.check(prompts, height, width)


class VideoSetScorer:
    """A metric of a whole set of images on the sampled frames of videos."""

    def __init__(self, scorer: SetScorer) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.higher_is_better = scorer.higher_is_better
        self.features_name = scorer.features_name

    def features(self, images: Images) -> FloatArray:
        """Of images as they are: those of a reference are no videos."""
        if images.ndim == 5:
            images = _as_images(images[:, sampled_frames(images.shape[1])])
        return self.scorer.features(images)

    def distance(self, features: FloatArray, reference: Any) -> float:
        return self.scorer.distance(features, reference)


def check_videos(name: str, images: Images) -> None:
    """Raise ConfigError unless `images` is uint8 (n, frames, height, width, 3)."""
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[-1] != 3 or images.shape[1] < 1:
        raise ConfigError(
            f"{name} of videos needs uint8 (n, frames, height, width, 3), not {images.dtype} {images.shape}"
        )


def _as_images(videos: Images) -> Images:
    return videos.reshape(-1, *videos.shape[2:])
