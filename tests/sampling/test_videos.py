"""Videos through a pipeline's own call: how many frames are asked for, and what comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecad.errors import ConfigError, ModelError
from ecad.families import find_model, get_family
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings, Overrides, settings_for
from ecad.sampling.loading import LoadedModel
from ecad.sampling.samplers import make_sampler


class VideoPipe:
    """Frames get brighter one by one; `extra` more are made than asked for."""

    extra = 0

    def __call__(
        self,
        prompt: Any,
        generator: Any,
        output_type: str,
        num_inference_steps: int,
        guidance_scale: float,
        height: int,
        width: int,
        num_frames: int = 7,
    ) -> Any:
        frames = np.arange(num_frames + self.extra)[None, :, None, None, None] / 255
        return SimpleNamespace(frames=np.broadcast_to(frames, (len(prompt), frames.size, height, width, 3)))


class ImagePipe:
    def __call__(
        self,
        prompt: Any,
        generator: Any,
        output_type: str,
        num_inference_steps: int,
        guidance_scale: float,
        height: int,
        width: int,
    ) -> Any:
        return SimpleNamespace(images=np.zeros((len(prompt), height, width, 3)))


def sampler(pipe: Any, family: str = "wan", num_frames: int = 1) -> Any:
    model = LoadedModel(find_model("wan2.1-1.3b"), get_family(family), pipe, torch.device("cpu"))
    return make_sampler(model, GenerationSettings(4, 1.0, 8, 16, 12, num_frames=num_frames))


def videos(found: Any) -> Any:
    return found.sample(found.encode(["a", "b"], 2), [Job(0, 0), Job(1, 1)])


def test_an_array_of_videos() -> None:
    found = videos(sampler(VideoPipe(), num_frames=5))
    assert (found.shape, found.dtype) == ((2, 5, 8, 16, 3), np.uint8)
    assert found[1, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert videos(sampler(ImagePipe())).shape == (2, 8, 16, 3)


def test_a_family_that_does_not_say_makes_as_many_as_its_pipeline() -> None:
    found = sampler(VideoPipe(), "sd3")
    assert found.settings.num_frames == 7
    assert videos(found).shape[1] == 7
    assert sampler(VideoPipe(), "sd3", 3).settings.num_frames == 3
    assert sampler(ImagePipe(), "sd3").settings.num_frames == 1


def test_other_numbers_than_asked_for_are_refused() -> None:
    pipe = VideoPipe()
    pipe.extra = 3
    with pytest.raises(ModelError, match="made 8 frames where 5 were asked for"):
        videos(sampler(pipe, num_frames=5))
    with pytest.raises(ConfigError, match="a ImagePipe, which makes images"):
        sampler(ImagePipe(), num_frames=5)


def test_settings() -> None:
    wan = find_model("wan2.1-1.3b")
    found = settings_for(wan)
    assert (found.num_frames, found.height, found.width, found.steps) == (81, 480, 832, 50)
    assert settings_for(wan, Overrides(num_frames=33)).num_frames == 33
    assert settings_for(find_model("pixart-mini")).num_frames == 1
