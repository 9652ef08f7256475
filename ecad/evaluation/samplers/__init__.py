"""How images are sampled, one sampler per model family."""

from collections.abc import Callable

from ecad.errors import ConfigError, ModelError
from ecad.evaluation.loading import GenerationSettings, LoadedModel
from ecad.evaluation.samplers.base import Job, Sampler, batches_of, jobs_for
from ecad.evaluation.samplers.denoising import Denoising
from ecad.evaluation.samplers.flux import FluxSampler
from ecad.evaluation.samplers.pixart import PixArtSampler

__all__ = [
    "Denoising",
    "FluxSampler",
    "Job",
    "PixArtSampler",
    "Sampler",
    "batches_of",
    "jobs_for",
    "make_sampler",
]

_SAMPLERS: dict[str, Callable[[LoadedModel, GenerationSettings], Sampler]] = {
    "pixart": PixArtSampler,
    "flux": FluxSampler,
}


def make_sampler(model: LoadedModel, settings: GenerationSettings) -> Sampler:
    """The sampler of the model's family. ConfigError for a setting that the family does not have."""
    if model.spec.family not in _SAMPLERS:
        raise ModelError(f"ecad has no sampler for family {model.spec.family!r}")
    if settings.true_cfg_scale != 1.0 and model.spec.family != "flux":
        raise ConfigError(
            f"true_cfg_scale is a setting of FLUX: {model.source.name} is of family {model.spec.family!r}, whose "
            "guidance is guidance_scale"
        )
    return _SAMPLERS[model.spec.family](model, settings)
