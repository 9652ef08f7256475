"""The denoising loop of PixArt-alpha and PixArt-Sigma, as in diffusers' pipelines, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from ecad.sampling.base import Job
from ecad.sampling.denoising import Denoising
from ecad.sampling.embeddings import Tensors
from ecad.sampling.guidance import OneBatchDenoising
from ecad.sampling.noise_levels import set_levels
from ecad.sampling.pipeline_sampler import PipelineSampler, encoded_in_batches, generators_of


class PixArtSampler(PipelineSampler):
    """Samples from a `PixArtAlphaPipeline` or `PixArtSigmaPipeline`.

    Conditioning: `embeddings` (prompts, tokens, channels) and `mask` (prompts, tokens), and one row of the empty
    prompt in `negative_embeddings` and `negative_mask`.
    """

    def _encoding_options(self) -> dict[str, Any]:
        return {"negative": ""}

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], batch_size: int) -> Tensors:
        def encoded(texts: list[str]) -> Any:
            return self.pipe.encode_prompt(
                texts,
                do_classifier_free_guidance=True,
                negative_prompt="",
                device=self._device,
                clean_caption=False,
                max_sequence_length=self.settings.max_sequence_length,
            )

        parts = encoded_in_batches(encoded, prompts, batch_size)
        return {
            "embeddings": torch.cat([part[0] for part in parts]),
            "mask": torch.cat([part[1] for part in parts]),
            "negative_embeddings": parts[0][2][:1].clone(),
            "negative_mask": parts[0][3][:1].clone(),
        }

    def _vae_input(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / self.pipe.vae.config.scaling_factor

    @torch.no_grad()
    def start(self, conditioning: Mapping[str, torch.Tensor], jobs: Sequence[Job]) -> Denoising:
        """Its latents have shape (len(jobs), channels, latent height, latent width)."""
        scheduler, transformer = self.pipe.scheduler, self.pipe.transformer
        settings, rows, count = self.settings, self._rows_of(jobs), len(jobs)
        embeddings, mask = conditioning["embeddings"][rows], conditioning["mask"][rows]
        if self.has_guidance_rows:
            negative = conditioning["negative_embeddings"].expand(count, -1, -1)
            embeddings = torch.cat([negative, embeddings])
            mask = torch.cat([conditioning["negative_mask"].expand(count, -1), mask])

        timesteps = set_levels(scheduler, settings.steps, settings.levels, self._device)
        generators = generators_of(jobs)
        scale = self.pipe.vae_scale_factor
        shape = (count, transformer.config.in_channels, settings.height // scale, settings.width // scale)
        latents = randn_tensor(shape, generator=generators, device=self._device, dtype=embeddings.dtype)
        latents = latents * scheduler.init_noise_sigma
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        added = self._size_conditioning(len(embeddings), embeddings.dtype)
        return _PixArtDenoising(self, latents, timesteps, generators, embeddings, mask, added)

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


class _PixArtDenoising(OneBatchDenoising):
    def __init__(
        self,
        sampler: PixArtSampler,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        generators: list[torch.Generator],
        embeddings: torch.Tensor,
        mask: torch.Tensor,
        added: dict[str, Any],
    ) -> None:
        pipe, settings = sampler.pipe, sampler.settings
        guidance_scale = settings.guidance_scale if sampler.has_guidance_rows else None
        super().__init__(pipe.scheduler, latents, timesteps, generators, guidance_scale)
        self._transformer = pipe.transformer
        self._embeddings = embeddings
        self._mask = mask
        self._added = added
        self._step_arguments = pipe.prepare_extra_step_kwargs(generators, 0.0)
        config = pipe.transformer.config
        self._learns_sigma = config.out_channels // 2 == config.in_channels
        # diffusers' pipelines take the denoised sample (entry 1) when there is only one step.
        self._entry = 1 if self.steps == 1 else 0

    def _predicted(self, rows: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self._transformer(
            rows,
            encoder_hidden_states=self._embeddings,
            encoder_attention_mask=self._mask,
            timestep=timestep[None].to(rows.device).expand(len(rows)),
            added_cond_kwargs=self._added,
            return_dict=False,
        )[0]
        return output

    def _stepped(self, prediction: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        if self._learns_sigma:
            prediction = prediction.chunk(2, dim=1)[0]
        stepped: tuple[torch.Tensor, ...] = self._scheduler.step(
            prediction, timestep, self.latents, **self._step_arguments, return_dict=False
        )
        return stepped[self._entry]
