"""The scene world: captions and scenes are inverses, the renderer obeys the scene, held-out stays held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecad.errors import ConfigError
from ecad.scoring.scenes import (
    COLOURS,
    IMAGE_SIZE,
    RELATIONS,
    Placement,
    Scene,
    SceneObject,
    caption,
    is_held_out,
    parse_caption,
    render,
    sample_placements,
    sample_scenes,
    vocabulary,
)

CALIBRATION_PROMPTS = Path(__file__).resolve().parents[3] / "calibration_prompts"


def test_caption_reads_like_a_sentence():
    scene = Scene(
        (SceneObject("large", "red", "striped", "circle"), SceneObject("small", "blue", "plain", "square")),
        "left of",
        "gray",
    )
    text = "a large red striped circle left of a small blue square on a gray background"
    assert caption(scene) == text
    assert parse_caption(text) == scene
    assert (
        parse_caption("  A large RED striped circle left of\n a small blue square on a gray background ")
        == scene
    )


def test_parsing_inverts_the_caption_and_uses_the_vocabulary():
    scenes = sample_scenes(300, np.random.default_rng(0))
    assert {len(scene.objects) for scene in scenes} == {1, 2}
    words = set(vocabulary())
    for scene in scenes:
        assert parse_caption(caption(scene)) == scene
        assert set(caption(scene).split()) <= words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a cat",
        "a large red circle",
        "a large pink circle on a gray background",
        "a large red plain circle on a gray background",
        "a large red circle beside a small blue square on a gray background",
        "a large red circle above a small red square on a gray background",
        "a large red circle on a gray background, 4k",
    ],
)
def test_anything_else_is_a_one_line_error_that_names_the_caption(text):
    with pytest.raises(ConfigError) as caught:
        parse_caption(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sampling_and_rendering_depend_on_the_seed_only():
    scenes = sample_scenes(5, np.random.default_rng(1))
    assert scenes == sample_scenes(5, np.random.default_rng(1))
    first = render(scenes[0], np.random.default_rng(2))
    assert first.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, render(scenes[0], np.random.default_rng(2)))
    assert (first != render(scenes[0], np.random.default_rng(3))).any()


@pytest.mark.parametrize("relation", RELATIONS)
def test_placements_obey_the_relation(relation):
    objects = (SceneObject("large", "red", "plain", "circle"), SceneObject("large", "blue", "plain", "cross"))
    rng = np.random.default_rng(4)
    for _ in range(50):
        first, second = sample_placements(Scene(objects, relation, "white"), rng)
        offsets = {
            "left of": second.centre_x - first.centre_x,
            "right of": first.centre_x - second.centre_x,
            "above": second.centre_y - first.centre_y,
            "below": first.centre_y - second.centre_y,
        }
        assert offsets[relation] > 24
        for place in (first, second):
            assert place.radius <= min(place.centre_x, IMAGE_SIZE - place.centre_x)


def test_a_plain_circle_has_the_area_and_colour_of_a_circle():
    scene = Scene((SceneObject("large", "red", "plain", "circle"),), None, "black")
    image = render(scene, np.random.default_rng(0), (Placement(32.0, 30.0, 12.5),))
    assert tuple(image[30, 32]) == COLOURS["red"]
    assert tuple(image[0, 0]) == (0, 0, 0)
    # Antialiasing spreads the edge but keeps the area: sum of coverage = pi r^2.
    coverage = image[..., 0].sum() / COLOURS["red"][0]
    assert coverage == pytest.approx(np.pi * 12.5**2, rel=0.01)


def test_held_out_scenes_are_a_fixed_eighth_whatever_the_arrangement():
    rng = np.random.default_rng(5)
    scenes = sample_scenes(4000, rng)
    assert np.mean([is_held_out(scene) for scene in scenes]) == pytest.approx(1 / 8, abs=0.02)
    for scene in scenes[:200]:
        swapped = Scene(scene.objects[::-1], scene.relation and "below", "white")
        assert is_held_out(swapped) == is_held_out(scene)
    assert all(is_held_out(scene) for scene in sample_scenes(20, rng, held_out=True))
    assert not any(is_held_out(scene) for scene in sample_scenes(20, rng, held_out=False))


def test_calibration_captions_are_held_out_and_disjoint():
    lists = {
        name: (CALIBRATION_PROMPTS / f"scenes-{name}.txt").read_text().splitlines()
        for name in ("search", "heldout")
    }
    assert len(lists["search"]) == 384
    assert len(lists["heldout"]) == 192
    everything = lists["search"] + lists["heldout"]
    assert len(set(everything)) == len(everything)
    assert all(is_held_out(parse_caption(text)) for text in everything)
