"""Which sampler a model gets: one for each shape of pipeline, and `any_pipeline` for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ecad.errors import ConfigError
from ecad.sampling.any_pipeline import AnyPipelineSampler, default_frames, frames_argument
from ecad.sampling.base import Sampler
from ecad.sampling.flux import FluxSampler
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.pixart import PixArtSampler

# By the pipeline's class, not by the family: a sampler does what this class's `__call__` does.
_SAMPLERS: dict[str, Callable[[LoadedModel, GenerationSettings], Sampler]] = {
    "PixArtAlphaPipeline": PixArtSampler,
    "PixArtSigmaPipeline": PixArtSampler,
    "FluxPipeline": FluxSampler,
}


def make_sampler(model: LoadedModel, settings: GenerationSettings) -> Sampler:
    """The sampler of the model's pipeline. ConfigError for a setting that the family does not have."""
    if settings.true_cfg_scale != 1.0 and model.family.guidance_setting != "true_cfg_scale":
        raise ConfigError(
            f"true_cfg_scale is a setting of FLUX and its like: {model.source.name} is of family "
            f"{model.family.name!r}, whose guidance is {model.family.guidance_setting}"
        )
    if settings.num_frames > 1 and frames_argument(model.pipe) is None:
        raise ConfigError(
            f"{model.source.name} is a {type(model.pipe).__name__}, which makes images: leave out the number of frames"
        )
    if settings.num_frames == 1 and not model.family.makes_videos:  # or nobody has said so yet
        settings = replace(settings, num_frames=default_frames(model.pipe))
    return _SAMPLERS.get(type(model.pipe).__name__, AnyPipelineSampler)(model, settings)
