"""Some of a scheduler's own noise levels: the untouched model with fewer steps, at levels that one chooses."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from ecad.errors import ModelError
from ecad.sampling.base import Job, Sampler


def set_levels(scheduler: Any, steps: int, levels: Sequence[int] | None, device: Any) -> torch.Tensor:
    """Start the scheduler with `steps` steps, or at the `levels` (step numbers) of these only; its timesteps.

    By its custom timesteps. ModelError for a scheduler that has none, or that makes other noise levels of them.
    """
    scheduler.set_timesteps(steps, device=device)
    timesteps: torch.Tensor = scheduler.timesteps
    if levels is None:
        return timesteps
    if len(timesteps) != steps:
        raise _cannot(scheduler, f"it makes {len(timesteps)} timesteps of {steps} steps")
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise _cannot(scheduler, "it takes no custom timesteps")
    chosen, sigmas = timesteps[list(levels)], getattr(scheduler, "sigmas", None)
    try:
        scheduler.set_timesteps(timesteps=chosen.tolist(), device=device)
    except ValueError as error:  # Karras sigmas and their like
        raise _cannot(scheduler, str(error)) from None
    check_levels(scheduler, chosen, sigmas, levels)
    return scheduler.timesteps  # type: ignore[no-any-return]


def check_levels(scheduler: Any, timesteps: torch.Tensor, sigmas: Any, levels: Sequence[int]) -> None:
    """ModelError unless the scheduler is now at these timesteps, and at the same levels of the earlier `sigmas`."""
    same = _close(scheduler.timesteps, timesteps)
    if same and isinstance(sigmas, torch.Tensor):
        wanted = torch.cat([sigmas[list(levels)], sigmas[-1:]])  # the last one is where the denoising ends
        same = _close(scheduler.sigmas, wanted)
    if not same:
        raise _cannot(scheduler, "it makes other noise levels of custom ones")


def try_levels(sampler: Sampler, prompts: Sequence[str], batch_size: int) -> None:
    """ModelError if the sampler cannot run at some of its noise levels: tried with one image in two steps."""
    steps = sampler.settings.steps
    two = sampler.with_steps(steps, (0, steps // 2))
    two.sample(sampler.encode(prompts, batch_size), [Job(0, 0)])


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Compared on the CPU: not every device has numbers of 64 bits.
    return torch.allclose(one.cpu().double(), other.cpu().double(), rtol=1e-5)


def _cannot(scheduler: Any, why: str) -> ModelError:
    return ModelError(
        f"{type(scheduler).__name__} cannot run at some of its noise levels ({why}): leave out the rows steps:I,J,..."
    )
