"""The denoising loop of PixArt-alpha and PixArt-Sigma, as in diffusers' pipelines, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from ecad.evaluation.embeddings import Tensors
from ecad.evaluation.loading import GenerationSettings, LoadedModel
from ecad.evaluation.samplers.base import Images, Job, encode_once
from ecad.evaluation.samplers.denoising import Denoising


@dataclass(frozen=True)
class PixArtConditioning:
    """Encoded prompts: embeddings (prompts, tokens, channels), masks (prompts, tokens); negative: one row."""

    embeddings: torch.Tensor
    mask: torch.Tensor
    negative_embeddings: torch.Tensor
    negative_mask: torch.Tensor


class PixArtSampler:
    """Samples from a `PixArtAlphaPipeline` or `PixArtSigmaPipeline` without its per-call overhead."""

    def __init__(self, model: LoadedModel, settings: GenerationSettings) -> None:
        self.pipe = model.pipe
        self.settings = settings
        self._model = model
        self._device = model.device

    @property
    def has_guidance_rows(self) -> bool:
        return self.settings.guidance_scale > 1.0

    def with_steps(self, steps: int) -> PixArtSampler:
        return PixArtSampler(self._model, replace(self.settings, steps=steps))

    def encode(self, prompts: Sequence[str], batch_size: int) -> PixArtConditioning:
        tensors = encode_once(
            self._model,
            {
                "prompts": list(prompts),
                "batch_size": batch_size,
                "max_sequence_length": self.settings.max_sequence_length,
                "negative": "",
            },
            lambda: self._encode(prompts, batch_size),
        )
        return PixArtConditioning(**tensors)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        parts = [
            self.pipe.encode_prompt(
                list(prompts[start : start + batch_size]),
                do_classifier_free_guidance=True,
                negative_prompt="",
                device=self._device,
                clean_caption=False,
                max_sequence_length=self.settings.max_sequence_length,
            )
            for start in range(0, len(prompts), batch_size)
        ]
        return {
            "embeddings": torch.cat([part[0] for part in parts]),
            "mask": torch.cat([part[1] for part in parts]),
            "negative_embeddings": parts[0][2][:1].clone(),
            "negative_mask": parts[0][3][:1].clone(),
        }

    def sample(self, conditioning: PixArtConditioning, jobs: Sequence[Job]) -> Images:
        return self.decode(self.start(conditioning, jobs).finish())

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Images:
        vae = self.pipe.vae
        decoded = vae.decode((latents / vae.config.scaling_factor).to(vae.device), return_dict=False)[0]
        floats = self.pipe.image_processor.postprocess(decoded, output_type="np")
        images: Images = (floats * 255).round().astype(np.uint8)
        return images

    @torch.no_grad()
    def start(self, conditioning: PixArtConditioning, jobs: Sequence[Job]) -> Denoising:
        """Its latents have shape (len(jobs), channels, latent height, latent width)."""
        scheduler, transformer = self.pipe.scheduler, self.pipe.transformer
        settings = self.settings
        rows = torch.tensor([job.prompt_index for job in jobs], device=self._device)
        count = len(jobs)
        embeddings, mask = conditioning.embeddings[rows], conditioning.mask[rows]
        if self.has_guidance_rows:
            embeddings = torch.cat([conditioning.negative_embeddings.expand(count, -1, -1), embeddings])
            mask = torch.cat([conditioning.negative_mask.expand(count, -1), mask])

        scheduler.set_timesteps(settings.steps, device=self._device)
        generators = [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]
        scale = self.pipe.vae_scale_factor
        shape = (count, transformer.config.in_channels, settings.height // scale, settings.width // scale)
        latents = randn_tensor(shape, generator=generators, device=self._device, dtype=embeddings.dtype)
        latents = latents * scheduler.init_noise_sigma
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        added = self._size_conditioning(len(embeddings), embeddings.dtype)
        return _PixArtDenoising(self, latents, generators, embeddings, mask, added)

    def _size_conditioning(self, rows: int, dtype: torch.dtype) -> dict[str, Any]:
        """Resolution (rows, 2) and aspect ratio (rows, 1) for models that were trained with them."""
        transformer = self.pipe.transformer
        if not transformer.config.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        height, width = self.settings.height, self.settings.width
        resolution = torch.tensor([height, width]).repeat(rows, 1)
        aspect_ratio = torch.tensor([float(height / width)]).repeat(rows, 1)
        return {
            "resolution": resolution.to(dtype=dtype, device=self._device),
            "aspect_ratio": aspect_ratio.to(dtype=dtype, device=self._device),
        }


class _PixArtDenoising(Denoising):
    """One forward a step; with guidance each image has two rows in it."""

    def __init__(
        self,
        sampler: PixArtSampler,
        latents: torch.Tensor,
        generators: list[torch.Generator],
        embeddings: torch.Tensor,
        mask: torch.Tensor,
        added: dict[str, Any],
    ) -> None:
        pipe = sampler.pipe
        super().__init__(pipe.scheduler, latents, pipe.scheduler.timesteps, generators)
        self._transformer = pipe.transformer
        self._settings = sampler.settings
        self._has_guidance = sampler.has_guidance_rows
        self._embeddings = embeddings
        self._mask = mask
        self._added = added
        self._step_arguments = pipe.prepare_extra_step_kwargs(generators, 0.0)
        config = pipe.transformer.config
        self._learns_sigma = config.out_channels // 2 == config.in_channels

    def _next_latents(self, timestep: torch.Tensor) -> torch.Tensor:
        latents = self.latents
        model_input = torch.cat([latents] * 2) if self._has_guidance else latents
        model_input = self._scheduler.scale_model_input(model_input, timestep)
        output = self._transformer(
            model_input,
            encoder_hidden_states=self._embeddings,
            encoder_attention_mask=self._mask,
            timestep=timestep[None].to(latents.device).expand(len(model_input)),
            added_cond_kwargs=self._added,
            return_dict=False,
        )[0]
        if self._has_guidance:
            unconditional, conditional = output.chunk(2)
            output = unconditional + self._settings.guidance_scale * (conditional - unconditional)
        if self._learns_sigma:
            output = output.chunk(2, dim=1)[0]
        # diffusers' pipelines take the denoised sample (entry 1) when there is only one step.
        entry = 1 if self._settings.steps == 1 else 0
        stepped: tuple[torch.Tensor, ...] = self._scheduler.step(
            output, timestep, latents, **self._step_arguments, return_dict=False
        )
        return stepped[entry]
