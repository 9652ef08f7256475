"""What every scorer must do, whatever it measures. Subclasses give a fixture `scorer`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ecad.errors import ConfigError
from ecad.scoring.scenes import caption, render, sample_scenes

COUNT = 5


class ScorerContract:
    """Inherit it and define `scorer`. Its batches should hold fewer than COUNT images, so that the tests see two."""

    # What floating point may change when images are scored in other company.
    tolerance = 1e-4

    @pytest.fixture
    def given(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Captions, their exact drawings uint8 (COUNT, 64, 64, 3), and noisy references of the same shape."""
        rng = np.random.default_rng(3)
        scenes = sample_scenes(COUNT, rng)
        images = np.stack([render(scene, rng) for scene in scenes])
        noise = rng.normal(scale=np.linspace(5, 40, COUNT)[:, None, None, None], size=images.shape)
        references = np.clip(images + noise, 0, 255).astype(np.uint8)
        return [caption(scene) for scene in scenes], images, references

    def test_one_finite_score_per_image(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        scores = scorer(prompts, images, references)
        assert scores.shape == (COUNT,)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
        assert len(set(scores.tolist())) == COUNT  # different images, different scores

    def test_the_same_every_time_and_nothing_is_changed(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        kept = images.copy(), references.copy()
        first = scorer(prompts, images, references)
        np.testing.assert_array_equal(first, scorer(prompts, images, references))
        np.testing.assert_array_equal(images, kept[0])
        np.testing.assert_array_equal(references, kept[1])

    def test_a_score_belongs_to_its_image_whatever_the_batch(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        together = scorer(prompts, images, references)
        alone = [
            scorer(prompts[i : i + 1], images[i : i + 1], references[i : i + 1])[0] for i in range(COUNT)
        ]
        np.testing.assert_allclose(alone, together, rtol=self.tolerance, atol=self.tolerance)
        order = [3, 0, 4, 2, 1]
        moved = scorer([prompts[i] for i in order], images[order], references[order])
        np.testing.assert_allclose(moved, together[order], rtol=self.tolerance, atol=self.tolerance)

    def test_no_images_no_scores(self, scorer: Any, given: Any) -> None:
        _, images, references = given
        scores = scorer([], images[:0], references[:0])
        assert scores.shape == (0,)
        assert scores.dtype == np.float64

    def test_it_says_what_it_is(self, scorer: Any) -> None:
        assert isinstance(scorer.name, str)
        assert scorer.name
        assert isinstance(scorer.higher_is_better, bool)
        assert isinstance(scorer.needs_reference, bool)

    def test_check_takes_what_can_be_judged(self, scorer: Any, given: Any) -> None:
        scorer.check(given[0], 64, 64)

    def test_references_only_where_they_are_needed(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        if scorer.needs_reference:
            with pytest.raises(ConfigError, match=r"compares each image with the uncached model's image"):
                scorer(prompts, images)
            with pytest.raises(ConfigError, match=r"references of the images' own shape"):
                scorer(prompts, images, references[:, :32])
        else:
            np.testing.assert_array_equal(scorer(prompts, images), scorer(prompts, images, references))

    def test_wrong_input_is_refused(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        with pytest.raises(ConfigError, match=f"{COUNT - 1} prompts for {COUNT} images"):
            scorer(prompts[1:], images, references)
        with pytest.raises(ConfigError, match="images must be uint8 .* not float64"):
            scorer(prompts, images / 255.0, references)
        with pytest.raises(ConfigError, match="images must be uint8"):
            scorer(prompts[:1], images[0], references[0])
