"""The alignment judge: exact drawings score high, everything wrong costs, and damage costs smoothly."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from ecad.errors import ConfigError
from ecad.scoring.alignment import AlignmentScorer, alignment_components, alignment_scores
from ecad.scoring.scenes import (
    COLOURS,
    PATTERNS,
    SHAPES,
    SIZES,
    Placement,
    Scene,
    SceneObject,
    caption,
    render,
    sample_scenes,
)

RNG_SEED = 11
COUNT = 32


@pytest.fixture(scope="module")
def drawn() -> tuple[list[Scene], list[str], np.ndarray]:
    """Scenes, their captions, and exact drawings uint8 (COUNT, 64, 64, 3)."""
    rng = np.random.default_rng(RNG_SEED)
    scenes = sample_scenes(COUNT, rng)
    return scenes, [caption(scene) for scene in scenes], np.stack([render(scene, rng) for scene in scenes])


def blur(images: np.ndarray, passes: int) -> np.ndarray:
    """Repeated 3 x 3 binomial blur of uint8 images (n, height, width, 3)."""
    blurred = images.astype(np.float64)
    for _ in range(passes):
        for axis in (1, 2):
            before, after = (np.roll(blurred, shift, axis) for shift in (1, -1))
            blurred = 0.25 * before + 0.5 * blurred + 0.25 * after
    return np.round(blurred).astype(np.uint8)


def test_exact_drawings_score_near_one_and_the_same_every_time(drawn):
    _, captions, images = drawn
    scores = AlignmentScorer()(captions, images)
    assert AlignmentScorer.name == "alignment"
    assert scores.shape == (COUNT,)
    assert scores.dtype == np.float64
    assert scores.mean() >= 0.97
    assert scores.min() >= 0.9
    np.testing.assert_array_equal(scores, alignment_scores(captions, images))
    # A score belongs to its image, whatever else is in the batch.
    np.testing.assert_array_equal(scores[5:6], alignment_scores(captions[5:6], images[5:6]))


def test_other_peoples_captions_score_low(drawn):
    _, captions, images = drawn
    assert alignment_scores(captions[1:] + captions[:1], images).mean() < 0.35
    gray = np.full_like(images, 128)
    assert alignment_scores(captions, gray).mean() < 0.35


@pytest.mark.parametrize(
    ("attribute", "values"),
    [("shape", SHAPES), ("pattern", PATTERNS), ("colour", tuple(COLOURS)), ("size", SIZES)],
)
def test_one_wrong_word_costs_most_of_its_object(drawn, attribute, values):
    scenes, _, images = drawn
    rng = np.random.default_rng(RNG_SEED)
    wrong = []
    for scene in scenes:
        taken = {getattr(item, attribute) for item in scene.objects}
        others = [value for value in values if value not in taken] or [
            value for value in values if value != getattr(scene.objects[0], attribute)
        ]
        changed = dataclasses.replace(scene.objects[0], **{attribute: others[rng.integers(len(others))]})
        wrong.append(caption(dataclasses.replace(scene, objects=(changed, *scene.objects[1:]))))
    assert alignment_scores(wrong, images).mean() < 0.72


def test_wrong_relation_and_background_cost():
    objects = (
        SceneObject("large", "red", "dotted", "circle"),
        SceneObject("small", "blue", "plain", "cross"),
    )
    scene = Scene(objects, "left of", "white")
    image = render(scene, np.random.default_rng(0))[None]
    exact = alignment_scores([caption(scene)], image)[0]
    swapped = dataclasses.replace(scene, relation="right of")
    assert alignment_scores([caption(swapped)], image)[0] < exact - 0.1
    dark = dataclasses.replace(scene, background="black")
    assert alignment_scores([caption(dark)], image)[0] < 0.6


def test_an_extra_object_costs_background():
    one = Scene((SceneObject("small", "red", "plain", "circle"),), None, "gray")
    text = [caption(one)]
    clean = render(one, np.random.default_rng(0), (Placement(20.0, 20.0, 8.0),))
    extra = clean.copy()
    extra[40:54, 40:54] = COLOURS["green"]
    assert alignment_scores(text, extra[None])[0] < alignment_scores(text, clean[None])[0] - 0.1


def test_score_falls_steadily_with_blur_and_with_noise(drawn):
    _, captions, images = drawn
    blurred = [alignment_scores(captions, blur(images, passes)).mean() for passes in (0, 1, 2, 4, 8)]
    assert (np.diff(blurred) < -0.005).all(), blurred
    noise = np.random.default_rng(RNG_SEED).normal(size=images.shape)
    noisy = [
        alignment_scores(captions, np.clip(images + level * noise, 0, 255).astype(np.uint8)).mean()
        for level in (0, 8, 16, 32, 64)
    ]
    assert (np.diff(noisy) < -0.005).all(), noisy


def test_components_explain_the_score(drawn):
    _, captions, images = drawn
    parts = alignment_components(captions, images)
    assert set(parts) == {"score", "objects", "worst_object", "relation", "background"}
    assert all(((values >= 0) & (values <= 1)).all() for values in parts.values())
    assert (parts["worst_object"] <= parts["objects"] + 1e-12).all()


def test_wrong_input_is_refused(drawn):
    _, captions, images = drawn
    with pytest.raises(ConfigError, match="a photo of a cat"):
        alignment_scores(["a photo of a cat"], images[:1])
    with pytest.raises(ConfigError, match="2 prompts for 1 images"):
        alignment_scores(captions[:2], images[:1])
    with pytest.raises(ConfigError, match="32 x 32"):
        alignment_scores(captions[:1], images[:1, ::2, ::2])
    with pytest.raises(ConfigError, match="float64"):
        alignment_scores(captions[:1], images[:1] / 255)


def test_judging_is_quick(drawn):
    _, captions, images = drawn
    alignment_scores(captions, images)  # fills the banks
    start = time.process_time()
    alignment_scores(captions, images)
    # About 2.5 ms on one core; the bound is loose, and in CPU time: other programs may be running.
    assert (time.process_time() - start) / COUNT < 0.05
