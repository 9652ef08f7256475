"""The two shapes that guidance takes: two rows of one forward, or two forwards a step.

Both compute what diffusers' pipelines do, in the same order, so that the results are the same bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from ecad.sampling.denoising import Denoising


class GuidedDenoising(Denoising):
    """`guidance_scale` is that of the two predictions, with and without the prompt; None: there is only one."""

    def __init__(
        self,
        scheduler: Any,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        generators: Sequence[torch.Generator],
        guidance_scale: float | None,
    ) -> None:
        super().__init__(scheduler, latents, timesteps, generators)
        self._guidance_scale = guidance_scale

    def _next_latents(self, timestep: torch.Tensor) -> torch.Tensor:
        return self._stepped(self._prediction(timestep), timestep)

    @abstractmethod
    def _prediction(self, timestep: torch.Tensor) -> torch.Tensor:
        """What the scheduler steps with, guided."""

    def _stepped(self, prediction: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self._scheduler.step(prediction, timestep, self.latents, return_dict=False)[0]
        return latents


class OneBatchDenoising(GuidedDenoising):
    """One forward a step; with guidance each image has two rows in it, those without the prompt first."""

    def _prediction(self, timestep: torch.Tensor) -> torch.Tensor:
        latents = self.latents
        rows = latents if self._guidance_scale is None else torch.cat([latents] * 2)
        output = self._predicted(self._scheduler.scale_model_input(rows, timestep), timestep)
        if self._guidance_scale is not None:
            unconditional, conditional = output.chunk(2)
            output = unconditional + self._guidance_scale * (conditional - unconditional)
        return output

    @abstractmethod
    def _predicted(self, rows: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The transformer's output for these rows."""


class TwoPassDenoising(GuidedDenoising):
    """A forward a step in the cache context "cond", with guidance followed by one in "uncond"."""

    def _prediction(self, timestep: torch.Tensor) -> torch.Tensor:
        output = self._predicted("cond", timestep)
        if self._guidance_scale is not None:
            negative = self._predicted("uncond", timestep)
            output = negative + self._guidance_scale * (output - negative)
        return output

    @abstractmethod
    def _predicted(self, context: str, timestep: torch.Tensor) -> torch.Tensor:
        """The transformer's output in this pass."""
