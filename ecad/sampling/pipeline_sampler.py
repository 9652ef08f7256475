"""What the samplers that step through a pipeline themselves have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from ecad.arrays import Images
from ecad.sampling.base import Job, timed
from ecad.sampling.denoising import Denoising
from ecad.sampling.embeddings import Tensors
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel

Self = TypeVar("Self", bound="PipelineSampler")


class PipelineSampler(ABC):
    """Samples as a pipeline's `__call__` does, bit for bit, without its per-call overhead; a `SteppedSampler`.

    A subclass says how prompts become tensors, how a batch starts, and what its VAE decodes.
    """

    def __init__(self, model: LoadedModel, settings: GenerationSettings) -> None:
        self.pipe = model.pipe
        self.settings = settings
        self._model = model
        self._device = model.device

    @property
    def has_guidance_rows(self) -> bool:
        family = self._model.family
        return family.has_guidance_rows(
            self.pipe.transformer.config, getattr(self.settings, family.guidance_setting)
        )

    def with_steps(self: Self, steps: int, levels: tuple[int, ...] | None = None) -> Self:
        return type(self)(self._model, replace(self.settings, steps=steps, levels=levels))

    def encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        """The tensors of `_encode` on the model's device: looked up if the model has encoded these prompts before."""
        encoder = self._model.prompt_encoder
        if encoder is None:
            return self._encode(prompts, batch_size)
        request = {
            "prompts": list(prompts),
            "batch_size": batch_size,
            "max_sequence_length": self.settings.max_sequence_length,
            **self._encoding_options(),
        }
        return encoder.encode(request, lambda: self._encode(prompts, batch_size), self._device)

    def sample(self, conditioning: Mapping[str, torch.Tensor], jobs: Sequence[Job]) -> Images:
        return self.decode(self.start(conditioning, jobs).finish())

    def sample_timed(
        self, conditioning: Mapping[str, torch.Tensor], jobs: Sequence[Job]
    ) -> tuple[Images, float]:
        return timed(self, conditioning, jobs)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Images:
        vae = self.pipe.vae
        decoded = vae.decode(self._vae_input(latents).to(vae.device), return_dict=False)[0]
        floats = self.pipe.image_processor.postprocess(decoded, output_type="np")
        images: Images = (floats * 255).round().astype(np.uint8)
        return images

    @abstractmethod
    def start(self, conditioning: Mapping[str, torch.Tensor], jobs: Sequence[Job]) -> Denoising:
        """The denoising of these jobs, before its first step. Starting another one ends it."""

    @abstractmethod
    def _encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        """Text conditioning of the prompts by name, computed `batch_size` prompts at a time."""

    @abstractmethod
    def _encoding_options(self) -> dict[str, Any]:
        """What `_encode` depends on besides the prompts, their batches and `max_sequence_length`: plain data."""

    @abstractmethod
    def _vae_input(self, latents: torch.Tensor) -> torch.Tensor:
        """What the VAE decodes, from final latents."""

    def _rows_of(self, jobs: Sequence[Job]) -> torch.Tensor:
        """The jobs' prompts, as indices (jobs,)."""
        return torch.tensor([job.prompt_index for job in jobs], device=self._device)


def generators_of(jobs: Sequence[Job]) -> list[torch.Generator]:
    """One generator per image: its noise depends on its seed only, not on its neighbours or on the device."""
    return [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]


def encoded_in_batches(encode: Any, prompts: Sequence[str], batch_size: int) -> list[Any]:
    """What `encode` returns for each batch of prompts."""
    return [encode(list(prompts[start : start + batch_size])) for start in range(0, len(prompts), batch_size)]
