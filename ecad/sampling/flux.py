"""The denoising loop of FLUX, as in diffusers' `FluxPipeline`, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ecad.families.workload import check_multiple
from ecad.sampling.base import Job
from ecad.sampling.denoising import Denoising
from ecad.sampling.embeddings import Tensors
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.guidance import TwoPassDenoising
from ecad.sampling.loading import LoadedModel
from ecad.sampling.noise_levels import check_levels
from ecad.sampling.pipeline_sampler import PipelineSampler, encoded_in_batches, generators_of


class FluxSampler(PipelineSampler):
    """Samples from a `FluxPipeline`.

    FLUX.1-dev reads `guidance_scale` as an input (a guidance embedding), schnell ignores it; both are one forward a
    step. With `true_cfg_scale` above 1 there is a second forward a step, of the empty prompt.

    Conditioning: T5 `embeddings` (prompts, tokens, channels), CLIP's `pooled` ones (prompts, pooled channels), and the
    tokens' positions `text_ids` (tokens, 3), all zero. `negative_embeddings` and `negative_pooled` have one row, or
    none without true guidance.
    """

    def __init__(self, model: LoadedModel, settings: GenerationSettings) -> None:
        super().__init__(model, settings)
        multiple = self.pipe.vae_scale_factor * 2  # FLUX packs 2 x 2 latent pixels into a token
        check_multiple(model.source, settings.height, settings.width, multiple)

    def _encoding_options(self) -> dict[str, Any]:
        return {"negative": "" if self.has_guidance_rows else None}

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        def encoded(texts: list[str]) -> Any:
            return self.pipe.encode_prompt(
                texts,
                device=self._device,
                max_sequence_length=self.settings.max_sequence_length,
            )

        parts = encoded_in_batches(encoded, prompts, batch_size)
        rows = 1 if self.has_guidance_rows else 0
        negative = encoded([""] * min(batch_size, len(prompts))) if rows else parts[0]
        return {
            "embeddings": torch.cat([part[0] for part in parts]),
            "pooled": torch.cat([part[1] for part in parts]),
            "text_ids": parts[0][2],
            "negative_embeddings": negative[0][:rows].clone(),
            "negative_pooled": negative[1][:rows].clone(),
        }

    def _vae_input(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.pipe.vae.config
        return self._unpacked(latents) / config.scaling_factor + config.shift_factor

    @torch.no_grad()
    def start(self, conditioning: Mapping[str, torch.Tensor], jobs: Sequence[Job]) -> Denoising:
        """Its latents are packed: (len(jobs), image tokens, 4 x latent channels)."""
        transformer, settings, count = self.pipe.transformer, self.settings, len(jobs)
        rows, text_ids = self._rows_of(jobs), conditioning["text_ids"]
        texts = {"cond": _Text(conditioning["embeddings"][rows], conditioning["pooled"][rows], text_ids)}
        if self.has_guidance_rows:
            texts["uncond"] = _Text(
                conditioning["negative_embeddings"].expand(count, -1, -1),
                conditioning["negative_pooled"].expand(count, -1),
                text_ids,
            )
        generators = generators_of(jobs)
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
        levels = self.settings.levels
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
        if levels is not None:
            chosen, own = timesteps[list(levels)], scheduler.sigmas
            some = None if sigmas is None else sigmas[list(levels)]
            timesteps, _ = retrieve_timesteps(scheduler, len(levels), self._device, sigmas=some, mu=shift)
            check_levels(scheduler, chosen, own, levels)
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


class _FluxDenoising(TwoPassDenoising):
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
        true_cfg_scale = sampler.settings.true_cfg_scale if sampler.has_guidance_rows else None
        super().__init__(sampler.pipe.scheduler, latents, timesteps, generators, true_cfg_scale)
        self._transformer = sampler.pipe.transformer
        self._texts = texts
        self._image_ids = image_ids
        self._guidance = guidance

    def _predicted(self, context: str, timestep: torch.Tensor) -> torch.Tensor:
        text = self._texts[context]
        expanded = timestep.expand(len(self.latents)).to(self.latents.dtype)
        with self._transformer.cache_context(context):
            output: torch.Tensor = self._transformer(
                hidden_states=self.latents,
                timestep=expanded / 1000,
                guidance=self._guidance,
                pooled_projections=text.pooled,
                encoder_hidden_states=text.embeddings,
                txt_ids=text.ids,
                img_ids=self._image_ids,
                joint_attention_kwargs={},
                return_dict=False,
            )[0]
        return output
