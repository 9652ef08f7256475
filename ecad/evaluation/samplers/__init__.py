"""How images are sampled, one sampler per model family."""

from ecad.errors import ModelError
from ecad.evaluation.loading import GenerationSettings, LoadedModel
from ecad.evaluation.samplers.base import Job, Sampler, batches_of, jobs_for
from ecad.evaluation.samplers.pixart import PixArtSampler

__all__ = ["Job", "PixArtSampler", "Sampler", "batches_of", "jobs_for", "make_sampler"]

_SAMPLERS = {"pixart": PixArtSampler}


def make_sampler(model: LoadedModel, settings: GenerationSettings) -> Sampler:
    """The sampler of the model's family."""
    if model.spec.family not in _SAMPLERS:
        raise ModelError(f"ecad has no sampler for family {model.spec.family!r}")
    return _SAMPLERS[model.spec.family](model, settings)
