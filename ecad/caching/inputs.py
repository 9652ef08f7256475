"""What a forward of the transformer was given, as far as it decides whether stored outputs still fit."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

_TIMESTEPS = ("timestep", "timesteps", "t")  # what the classes of diffusers call it


@dataclass(frozen=True)
class Inputs:
    """The arguments of one forward of the transformer, by name."""

    arguments: Mapping[str, Any]

    @cached_property
    def layout(self) -> Hashable:
        """Shapes, dtypes and devices of all tensors, and what is switched on (skipped layers, modes). Where they
        change, no stored output fits any more."""
        return tuple((name, _layout(value)) for name, value in self.arguments.items())

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """All tensors among the arguments, by name and place."""
        return dict(found for name, value in self.arguments.items() for found in _tensors(name, value))

    @property
    def timestep_argument(self) -> Any:
        """The timestep as it was given; None without one."""
        return next((self.arguments[name] for name in _TIMESTEPS if name in self.arguments), None)

    @property
    def timestep(self) -> float | None:
        """The value of the timestep, the largest if there are several; None without one. On a GPU this waits for it."""
        return _value_of(self.timestep_argument)

    def has_timestep(self, other: Any) -> bool:
        """Whether the timestep has the value of this one. On a GPU this waits for both."""
        return self.timestep == _value_of(other)

    @property
    def only_fills_a_cache(self) -> bool:
        """Whether the forward is no step: attention writes down keys and values for later (GLM-Image's pictures)."""
        caches = (getattr(value, "caches", None) for value in self.arguments.values())
        return any(
            getattr(each[0], "mode", None) == "write" for each in caches if isinstance(each, list) and each
        )


def inputs_of(transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    """By the names that the class's forward gives its arguments."""
    names = list(inspect.signature(type(transformer).forward).parameters)[1:] if args else []
    return Inputs({**dict(zip(names, args, strict=False)), **kwargs})


def _layout(value: Any, is_inside: bool = False) -> Hashable:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, (list, tuple)):  # some models take a list of images
        return tuple(_layout(each, is_inside=True) for each in value)
    if isinstance(value, Mapping):
        return tuple((name, _layout(each)) for name, each in value.items())
    # A number for itself may be the timestep, or a scale that changes with it.
    if isinstance(value, (bool, str)) or (is_inside and isinstance(value, int)):
        return value
    return None


def _tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _tensors(f"{name}.{number}", each)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(f"{name}.{key}", each)


def _value_of(timestep: Any) -> float | None:
    if isinstance(timestep, torch.Tensor) and timestep.numel() > 0 and timestep.device.type != "meta":
        return float(timestep.detach().max())
    return float(timestep) if isinstance(timestep, (int, float)) else None
