"""Metrics of images on videos: which frames are judged, and their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecad.arrays import Images, Scores
from ecad.errors import ConfigError
from ecad.scoring import make_quality, make_scorer
from ecad.scoring.videos import (
    VideoSetScorer,
    for_videos,
    frames_note,
    sampled_frames,
    strip,
)
from ecad.scoring.weighted import NegatedScorer, WeightedScorer


class Brightness:
    """The mean of an image, by its prompt: which calls it got is kept."""

    name = "brightness"
    higher_is_better = True
    needs_reference = False

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], Any]] = []

    def __call__(self, prompts: Any, images: Images, references: Images | None = None) -> Scores:
        self.calls.append((list(prompts), images.shape))
        return images.reshape(len(images), -1).mean(axis=1)

    def check(self, prompts: Any, height: int, width: int) -> None:
        if height < 2:
            raise ConfigError("too small")


def videos(*brightness: list[int]) -> Images:
    """One video of 2 x 3 pixels for each list, a frame for each number."""
    array = np.array(brightness, dtype=np.uint8)
    return np.broadcast_to(array[:, :, None, None, None], (*array.shape, 2, 3, 3)).copy()


@pytest.mark.parametrize(
    ("frames", "expected"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [0, 2, 4]), (81, [0, 40, 80])]
)
def test_sampled_frames(frames: int, expected: list[int]) -> None:
    assert sampled_frames(frames) == expected
    assert frames_note(frames)["judged_by_prompt"] == expected


def test_a_metric_by_prompt_judges_first_middle_and_last() -> None:
    inner = Brightness()
    scorer = for_videos(inner)
    assert scorer(["a", "b"], videos([0, 100, 20, 100, 40], [9, 0, 9, 0, 9])).tolist() == [20.0, 9.0]
    assert inner.calls == [(["a", "a", "a", "b", "b", "b"], (6, 2, 3, 3))]
    with pytest.raises(ConfigError, match="too small"):
        scorer.check(["a"], 1, 1)


def test_fidelity_is_over_all_frames() -> None:
    scorer = for_videos(make_scorer("rmse", "cpu"))
    assert scorer.needs_reference
    found = scorer(["a", "b"], videos([0, 3, 0, 0, 0], [1, 1, 1, 1, 1]), videos([0] * 5, [1] * 5))
    assert found.tolist() == pytest.approx([3 / 5, 0.0])
    with pytest.raises(ConfigError, match="references of the videos' own shape"):
        scorer(["a"], videos([0, 1]), videos([0, 1, 2]))


def test_each_part_of_a_sum_looks_at_the_frames_that_it_needs() -> None:
    total = for_videos(WeightedScorer([(1.0, Brightness()), (10.0, make_scorer("rmse", "cpu"))]))
    assert total.name == "1*brightness+10*rmse"
    assert total(["a"], videos([0, 90, 6, 0, 0]), videos([0, 90, 6, 0, 5])).tolist() == pytest.approx(
        [2 - 10]
    )
    quality = for_videos(make_quality("psnr", "cpu"))
    assert isinstance(quality, NegatedScorer)
    assert quality.name == "-rmse"
    assert quality(["a"], videos([4, 0]), videos([0, 0])).tolist() == pytest.approx([-2.0])


def test_images_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"brightness of videos needs uint8 \(n, frames, height, width, 3\)"
    ):
        for_videos(Brightness())(["a"], videos([1, 2])[0])


def test_features_are_of_the_sampled_frames() -> None:
    class Features:
        name, higher_is_better, features_name = "fid", False, "x"

        def features(self, images: Images) -> Any:
            return images.reshape(len(images), -1).mean(axis=1, keepdims=True)

        def distance(self, features: Any, reference: Any) -> float:
            return float(features.sum() - reference)

    scorer = VideoSetScorer(Features())
    features = scorer.features(videos([1, 9, 2, 9, 3]))
    assert features.tolist() == [[1.0], [2.0], [3.0]]
    assert scorer.features(videos([1, 9])[0]).tolist() == [[1.0], [9.0]]  # of a reference: images
    assert scorer.distance(features, 1.0) == 5.0


def test_a_strip_shows_the_sampled_frames() -> None:
    [video] = videos([1, 9, 2, 9, 3])
    assert strip(video).shape == (2, 9, 3)
    assert strip(video)[0, ::3, 0].tolist() == [1, 2, 3]
    assert strip(video[0]) is not None
    assert np.array_equal(strip(video[0]), video[0])
