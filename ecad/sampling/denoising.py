"""The denoising of one batch, step by step, so that its state can be saved between two steps and returned to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Of a scheduler's attributes, what stands before its method while a schedule is applied that holds the clean sample: it
# belongs to that schedule, and not to the state of the denoising.
_STEP = "step"


@dataclass(frozen=True)
class DenoisingState:
    """Everything that decides how a denoising goes on, but for the model and what is cached in it."""

    step: int
    latents: torch.Tensor
    scheduler: dict[str, Any]  # its attributes
    generators: tuple[torch.Tensor, ...]


class Denoising(ABC):
    """A batch on its way from noise to latents. `step` steps of `steps` are done; `latents` is where they led."""

    def __init__(
        self,
        scheduler: Any,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.step = 0
        self.latents = latents
        self._scheduler = scheduler
        self._timesteps = timesteps
        self._generators = generators

    @property
    def steps(self) -> int:
        return len(self._timesteps)

    @torch.no_grad()
    def advance(self) -> None:
        """Do the next step."""
        self.latents = self._next_latents(self._timesteps[self.step])
        self.step += 1

    def finish(self) -> torch.Tensor:
        """Do all steps that are left; the final latents."""
        while self.step < self.steps:
            self.advance()
        return self.latents

    def save(self) -> DenoisingState:
        """The state between two steps. Later steps do not change it."""
        return DenoisingState(
            self.step,
            self.latents,
            _attributes(self._scheduler),
            tuple(generator.get_state() for generator in self._generators),
        )

    def load(self, state: DenoisingState) -> None:
        """Return to a state of this denoising; the next steps are then the same bit for bit."""
        self.step, self.latents = state.step, state.latents
        attributes = vars(self._scheduler)
        for name in attributes.keys() - state.scheduler.keys() - {_STEP}:
            del attributes[name]
        attributes.update({name: _copied(name, value) for name, value in state.scheduler.items()})
        for generator, generator_state in zip(self._generators, state.generators, strict=True):
            generator.set_state(generator_state)

    @abstractmethod
    def _next_latents(self, timestep: torch.Tensor) -> torch.Tensor:
        """The latents after the step at this timestep."""


def _attributes(scheduler: Any) -> dict[str, Any]:
    return {name: _copied(name, value) for name, value in vars(scheduler).items() if name != _STEP}


def _copied(name: str, value: Any) -> Any:
    """A copy that later steps cannot change: schedulers keep lists of model outputs, and some add to tensors in place.

    `timesteps` stays the same object, since it marks the call (see `ecad.caching.clock.SchedulerClock`).
    """
    if name == "timesteps":
        return value
    if isinstance(value, torch.Tensor):
        return value.clone()
    if type(value) is deque:
        return deque((_copied("", item) for item in value), value.maxlen)
    if type(value) in (list, tuple):
        return type(value)(_copied("", item) for item in value)
    if type(value) is dict:
        return {key: _copied("", item) for key, item in value.items()}
    return value
