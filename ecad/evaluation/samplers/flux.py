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
from ecad.evaluation.samplers.denoising import Denoising


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

    def sample(self, conditioning: FluxConditioning, jobs: Sequence[Job]) -> Images:
        return self.decode(self.start(conditioning, jobs).finish())

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> Images:
        vae = self.pipe.vae
        latents = self._unpacked(latents) / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(latents.to(vae.device), return_dict=False)[0]
        floats = self.pipe.image_processor.postprocess(decoded, output_type="np")
        images: Images = (floats * 255).round().astype(np.uint8)
        return images

    @torch.no_grad()
    def start(self, conditioning: FluxConditioning, jobs: Sequence[Job]) -> Denoising:
        """Its latents are packed: (len(jobs), image tokens, 4 x latent channels)."""
        transformer, settings, count = self.pipe.transformer, self.settings, len(jobs)
        rows = torch.tensor([job.prompt_index for job in jobs], device=self._device)
        texts = {
            "cond": _Text(conditioning.embeddings[rows], conditioning.pooled[rows], conditioning.text_ids)
        }
        if self.has_guidance_rows:
            texts["uncond"] = _Text(
                conditioning.negative_embeddings.expand(count, -1, -1),
                conditioning.negative_pooled.expand(count, -1),
                conditioning.text_ids,
            )
        generators = [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]
        latents, image_ids = self.pipe.prepare_latents(
            count,
            transformer.config.in_channels // 4,
            settings.height,
            settings.width,
            texts["cond"].embeddings.dtype,
            self._device,
            generators,
        )
        guidance = None
        if transformer.config.guidance_embeds:
            guidance = torch.full(
                [1], settings.guidance_scale, device=self._device, dtype=torch.float32
            ).expand(count)
        timesteps = self._timesteps(latents.shape[1])
        return _FluxDenoising(self, latents, timesteps, generators, texts, image_ids, guidance)

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


@dataclass(frozen=True)
class _Text:
    embeddings: torch.Tensor
    pooled: torch.Tensor
    ids: torch.Tensor


class _FluxDenoising(Denoising):
    """One forward a step for each of `texts`, by the name of its cache context: "cond", and "uncond" if guided."""

    def __init__(
        self,
        sampler: FluxSampler,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        generators: list[torch.Generator],
        texts: dict[str, _Text],
        image_ids: torch.Tensor,
        guidance: torch.Tensor | None,
    ) -> None:
        super().__init__(sampler.pipe.scheduler, latents, timesteps, generators)
        self._transformer = sampler.pipe.transformer
        self._true_cfg_scale = sampler.settings.true_cfg_scale
        self._texts = texts
        self._image_ids = image_ids
        self._guidance = guidance

    def _next_latents(self, timestep: torch.Tensor) -> torch.Tensor:
        expanded = timestep.expand(len(self.latents)).to(self.latents.dtype)
        output = self._predicted("cond", expanded)
        if "uncond" in self._texts:
            negative = self._predicted("uncond", expanded)
            output = negative + self._true_cfg_scale * (output - negative)
        latents: torch.Tensor = self._scheduler.step(output, timestep, self.latents, return_dict=False)[0]
        return latents

    def _predicted(self, context: str, timestep: torch.Tensor) -> torch.Tensor:
        text = self._texts[context]
        with self._transformer.cache_context(context):
            output: torch.Tensor = self._transformer(
                hidden_states=self.latents,
                timestep=timestep / 1000,
                guidance=self._guidance,
                pooled_projections=text.pooled,
                encoder_hidden_states=text.embeddings,
                txt_ids=text.ids,
                img_ids=self._image_ids,
                joint_attention_kwargs={},
                return_dict=False,
            )[0]
        return output
