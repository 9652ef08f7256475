"""What every sampler offers, and how prompts and seeds become batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from ecad.arrays import Images
from ecad.errors import ConfigError
from ecad.sampling.denoising import Denoising
from ecad.sampling.generation import GenerationSettings


class Job(NamedTuple):
    """One image to make: which prompt of the set, and the seed of its initial noise."""

    prompt_index: int
    seed: int


class Sampler(Protocol):
    """Makes images from prompts, as the model's pipeline does."""

    @property
    def pipe(self) -> Any: ...

    @property
    def settings(self) -> GenerationSettings: ...

    @property
    def has_guidance_rows(self) -> bool:
        """Whether the transformer works on two rows per image and step: with and without the prompt."""

    def with_steps(self, steps: int, levels: tuple[int, ...] | None = None) -> Sampler:
        """The same model, sampled with another number of steps, or at these of its noise levels only.

        ModelError, here or at the first image, if its scheduler cannot run at some of its levels.
        """

    def encode(self, prompts: Sequence[str], batch_size: int) -> Any:
        """Text conditioning of the prompts, computed once and used for every candidate."""

    def sample(self, conditioning: Any, jobs: Sequence[Job]) -> Images:
        """Images of shape (len(jobs), height, width, 3), bit-identical to the pipeline's for the same inputs."""

    def sample_timed(self, conditioning: Any, jobs: Sequence[Job]) -> tuple[Images, float]:
        """The same, and the seconds that it took, text encoding excluded."""


@runtime_checkable
class SteppedSampler(Sampler, Protocol):
    """A sampler that goes step by step, so that schedules can share the steps that they have in common."""

    def start(self, conditioning: Any, jobs: Sequence[Job]) -> Denoising:
        """The denoising of these jobs, before its first step. Starting another one ends it."""

    def decode(self, latents: torch.Tensor) -> Images:
        """Images of shape (n, height, width, 3) from the latents of a finished denoising."""


def timed(sampler: Sampler, conditioning: Any, jobs: Sequence[Job]) -> tuple[Images, float]:
    """`sample_timed` of a sampler whose `sample` encodes no text."""
    start = time.perf_counter()
    images = sampler.sample(conditioning, jobs)
    return images, time.perf_counter() - start


def jobs_for(prompts: int, seeds_per_prompt: int, first_seed: int) -> list[Job]:
    """All (prompt, seed) pairs, prompts in order and seeds innermost.

    Every image has a seed of its own, the same for all candidates (common random numbers): differences
    between candidates are then differences between schedules, not between noises.
    """
    if seeds_per_prompt < 1:
        raise ConfigError(f"the number of seeds per prompt must be at least 1, not {seeds_per_prompt}")
    return [
        Job(prompt, first_seed + prompt * seeds_per_prompt + repeat)
        for prompt in range(prompts)
        for repeat in range(seeds_per_prompt)
    ]


def batches_of(jobs: Sequence[Job], batch_size: int) -> Iterator[Sequence[Job]]:
    """Consecutive batches. The split is part of the result: other batch sizes may differ in the last bits."""
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, not {batch_size}")
    for start in range(0, len(jobs), batch_size):
        yield jobs[start : start + batch_size]
