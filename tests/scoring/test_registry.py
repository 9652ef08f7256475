"""Scorers by name, weighted sums, and the contract of the one that needs no package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from contracts.scorer import ScorerContract

from ecad.errors import ConfigError, ScoreError
from ecad.scoring import (
    METRICS,
    Metric,
    as_quality,
    check_scores,
    make_scorer,
    make_set_scorer,
    metric_names,
)
from ecad.scoring.weighted import WeightedScorer, parse_weighted


class Fixed:
    """Gives the same score to every image."""

    def __init__(
        self, name: str, value: float, higher_is_better: bool = True, needs_reference: bool = False
    ) -> None:
        self.name, self.value = name, value
        self.higher_is_better, self.needs_reference = higher_is_better, needs_reference
        self.checked: list[tuple[int, int]] = []

    def __call__(
        self, prompts: Sequence[str], images: np.ndarray, references: np.ndarray | None = None
    ) -> np.ndarray:
        return np.full(len(images), self.value)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        self.checked.append((height, width))


class TestAlignmentScorer(ScorerContract):
    tolerance = 1e-12

    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("alignment")


class TestWeightedScorer(ScorerContract):
    tolerance = 1e-12

    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("0.25*alignment+2*alignment")

    def test_the_sum_is_weighted(self, scorer: Any, given: Any) -> None:
        prompts, images, _ = given
        expected = 2.25 * make_scorer("alignment")(prompts, images)
        np.testing.assert_allclose(scorer(prompts, images), expected, rtol=1e-12)
        assert scorer.name == "0.25*alignment+2*alignment"


@pytest.mark.parametrize("record", METRICS.values(), ids=list(METRICS))
def test_a_record_says_what_its_scorer_says(record: Metric) -> None:
    assert isinstance(record.makes, str)
    module, _, name = record.makes.partition(":")
    scorer = getattr(import_module(module), name)
    assert scorer.higher_is_better == record.higher_is_better
    assert hasattr(scorer, {"image": "check", "set": "distance"}[record.judges])
    if record.variant:  # then its name depends on the variant, and an object must say it
        for package in record.imports:
            pytest.importorskip(package)
        scorer = record.make("cpu")
    assert scorer.name == record.name


IMAGES = np.zeros((3, 8, 8, 3), np.uint8)
PROMPTS = ["one", "two", "three"]


def test_a_weighted_sum_turns_distances_round() -> None:
    near, like = Fixed("distance", 0.5, higher_is_better=False, needs_reference=True), Fixed("likeness", 3.0)
    scorer = WeightedScorer([(2.0, near), (0.1, like)])
    np.testing.assert_allclose(scorer(PROMPTS, IMAGES, IMAGES), [-0.7] * 3)
    assert scorer.higher_is_better
    assert scorer.needs_reference
    scorer.check(PROMPTS, 8, 9)
    assert near.checked == like.checked == [(8, 9)]


def test_a_distance_is_negated_for_the_search_only() -> None:
    distance, likeness = Fixed("distance", 0.5, higher_is_better=False), Fixed("likeness", 3.0)
    assert as_quality(likeness) is likeness
    quality = as_quality(distance)
    assert quality.name == "-distance"
    assert quality.higher_is_better
    np.testing.assert_array_equal(quality(PROMPTS, IMAGES), [-0.5] * 3)
    np.testing.assert_array_equal(distance(PROMPTS, IMAGES), [0.5] * 3)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("psnr", None),
        ("clip:ViT-B-16-plus-240/laion400m_e32", None),
        ("clip:ViT-B-32/a+b.pt", None),
        ("0.7*image-reward+0.3*clip", [(0.7, "image-reward"), (0.3, "clip")]),
        (" 1 * alignment + .5 * psnr ", [(1.0, "alignment"), (0.5, "psnr")]),
        (
            "1e-2*psnr+1*clip:ViT-B-32/a+b.pt+2*ssim",
            [(0.01, "psnr"), (1.0, "clip:ViT-B-32/a+b.pt"), (2.0, "ssim")],
        ),
    ],
)
def test_weighted_names(text: str, terms: Any) -> None:
    assert parse_weighted(text) == terms


@pytest.mark.parametrize("text", ["0*alignment", "1*alignment+0*psnr", "1.2.3*alignment", "..*alignment"])
def test_wrong_weights_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no WEIGHT\*METRIC with a positive weight"):
        make_scorer(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagereward", "unknown quality 'imagereward', did you mean 'image-reward'"),
        (
            "beauty",
            f"unknown quality 'beauty': use one of {', '.join(metric_names('image'))}; in ecad evaluate also fid, kid",
        ),
        ("fidd", "unknown quality 'fidd', did you mean 'fid'"),
        ("alignment:x", "unknown quality 'alignment:x'"),
        ("clip:", "unknown quality 'clip:'"),
        ("lpips:resnet", "unknown lpips network 'resnet': use one of alex, vgg, squeeze"),
        ("fid", "fid judges a whole set of images"),
        ("1*alignment+1*beauty", "unknown quality 'beauty'"),
        ("", "unknown quality ''"),
    ],
)
def test_wrong_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_scorer(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_names_of_set_scorers_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown distribution metric 'fidd', did you mean 'fid'"):
        make_set_scorer("fidd")


def test_scores_are_checked_where_they_are_used() -> None:
    scorer = Fixed("likeness", 1.0)
    good = np.array([1.0, 2.0, 3.0])
    assert check_scores(scorer, good, PROMPTS) is good
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ScoreError, match=f"likeness gave {bad} for row X of the prompt 'two'"):
            check_scores(scorer, np.array([1.0, bad, 3.0]), PROMPTS, "row X")
    with pytest.raises(ScoreError, match=r"shape \(3, 1\) for 3 images"):
        check_scores(scorer, good[:, None], PROMPTS)
