"""The denoising loop of FLUX, as in diffusers' `FluxPipeline`, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ecad.errors import ConfigError
from ecad.evaluation.embeddings import Tensors
from ecad.evaluation.loading import GenerationSettings, LoadedModel
from ecad.evaluation.samplers.base import Images, Job, encode_once


@dataclass(frozen=True)
class FluxConditioning:
    """Encoded prompts: T5 embeddings (prompts, tokens, channels), CLIP's pooled ones (prompts, pooled channels), and
    the tokens' positions (tokens, 3), all zero. The negative ones have one row, or none without true guidance."""

    embeddings: torch.Tensor
    pooled: torch.Tensor
    text_ids: torch.Tensor
    negative_embeddings: torch.Tensor
    negative_pooled: torch.Tensor


class FluxSampler:
    """Samples from a `FluxPipeline` without its per-call overhead.

    FLUX.1-dev reads `guidance_scale` as an input (a guidance embedding), schnell ignores it; both are one forward a
    step. With `true_cfg_scale` above 1 there is a second forward a step, of the empty prompt.
    """

    def __init__(self, model: LoadedModel, settings: GenerationSettings) -> None:
        self.pipe = model.pipe
        self.settings = settings
        self._model = model
        self._device = model.device
        multiple = self.pipe.vae_scale_factor * 2  # FLUX packs 2 x 2 latent pixels into a token
        for name, pixels in (("height", settings.height), ("width", settings.width)):
            if pixels < multiple or pixels % multiple:
                raise ConfigError(
                    f"{name} must be a multiple of {multiple} pixels for {model.source.name}, not {pixels}"
                )

    @property
    def has_guidance_rows(self) -> bool:
        return self.settings.true_cfg_scale > 1.0

    def with_steps(self, steps: int) -> FluxSampler:
        return FluxSampler(self._model, replace(self.settings, steps=steps))

    def encode(self, prompts: Sequence[str], batch_size: int) -> FluxConditioning:
        tensors = encode_once(
            self._model,
            {
                "prompts": list(prompts),
                "batch_size": batch_size,
                "max_sequence_length": self.settings.max_sequence_length,
                "negative": "" if self.has_guidance_rows else None,
            },
            lambda: self._encode(prompts, batch_size),
        )
        return FluxConditioning(**tensors)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        def encoded(texts: Sequence[str]) -> Any:
            return self.pipe.encode_prompt(
                list(texts),
                device=self._device,
                max_sequence_length=self.settings.max_sequence_length,
            )

        parts = [encoded(prompts[start : start + batch_size]) for start in range(0, len(prompts), batch_size)]
        rows = 1 if self.has_guidance_rows else 0
        negative = encoded([""] * min(batch_size, len(prompts))) if rows else parts[0]
        return {
            "embeddings": torch.cat([part[0] for part in parts]),
            "pooled": torch.cat([part[1] for part in parts]),
            "text_ids": parts[0][2],
            "negative_embeddings": negative[0][:rows].clone(),
            "negative_pooled": negative[1][:rows].clone(),
        }

    @torch.no_grad()
    def sample(self, conditioning: FluxConditioning, jobs: Sequence[Job]) -> Images:
        latents = self._unpacked(self._denoise(conditioning, jobs))
        vae = self.pipe.vae
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(latents.to(vae.device), return_dict=False)[0]
        floats = self.pipe.image_processor.postprocess(decoded, output_type="np")
        images: Images = (floats * 255).round().astype(np.uint8)
        return images

    def _denoise(self, conditioning: FluxConditioning, jobs: Sequence[Job]) -> torch.Tensor:
        """Final latents, packed: (len(jobs), image tokens, 4 x latent channels)."""
        scheduler, transformer = self.pipe.scheduler, self.pipe.transformer
        settings, count = self.settings, len(jobs)
        rows = torch.tensor([job.prompt_index for job in jobs], device=self._device)
        embeddings, pooled = conditioning.embeddings[rows], conditioning.pooled[rows]
        latents, image_ids = self.pipe.prepare_latents(
            count,
            transformer.config.in_channels // 4,
            settings.height,
            settings.width,
            embeddings.dtype,
            self._device,
            [torch.Generator("cpu").manual_seed(job.seed) for job in jobs],
        )
        guidance = None
        if transformer.config.guidance_embeds:
            guidance = torch.full(
                [1], settings.guidance_scale, device=self._device, dtype=torch.float32
            ).expand(count)

        def predicted(
            context: str, text: torch.Tensor, text_pooled: torch.Tensor, timestep: torch.Tensor
        ) -> torch.Tensor:
            with transformer.cache_context(context):
                output: torch.Tensor = transformer(
                    hidden_states=latents,
                    timestep=timestep / 1000,
                    guidance=guidance,
                    pooled_projections=text_pooled,
                    encoder_hidden_states=text,
                    txt_ids=conditioning.text_ids,
                    img_ids=image_ids,
                    joint_attention_kwargs={},
                    return_dict=False,
                )[0]
            return output

        for step_time in self._timesteps(latents.shape[1]):
            timestep = step_time.expand(count).to(latents.dtype)
            output = predicted("cond", embeddings, pooled, timestep)
            if self.has_guidance_rows:
                negative = predicted(
                    "uncond",
                    conditioning.negative_embeddings.expand(count, -1, -1),
                    conditioning.negative_pooled.expand(count, -1),
                    timestep,
                )
                output = negative + settings.true_cfg_scale * (output - negative)
            latents = scheduler.step(output, step_time, latents, return_dict=False)[0]
        return latents

    def _timesteps(self, image_tokens: int) -> torch.Tensor:
        """Starts the scheduler; its timesteps (steps,), shifted by the number of image tokens where it asks for it."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

        scheduler, steps = self.pipe.scheduler, self.settings.steps
        config = scheduler.config
        sigmas: Any = np.linspace(1.0, 1 / steps, steps)
        if getattr(config, "use_flow_sigmas", False):
            sigmas = None
        shift = calculate_shift(
            image_tokens,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        timesteps, _ = retrieve_timesteps(scheduler, steps, self._device, sigmas=sigmas, mu=shift)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return timesteps

    def _unpacked(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, image tokens, 4 x channels) -> (n, channels, latent height, latent width)."""
        scale = self.pipe.vae_scale_factor * 2
        height, width = self.settings.height // scale, self.settings.width // scale
        count, _, packed = latents.shape
        latents = latents.view(count, height, width, packed // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return latents.reshape(count, packed // 4, height * 2, width * 2)
