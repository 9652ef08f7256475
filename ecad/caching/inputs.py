"""What a forward of the transformer was given, as far as it decides whether stored outputs still fit."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_TIMESTEPS = ("timestep", "timesteps", "t")  # what the classes of diffusers call it


@dataclass(frozen=True)
class Inputs:
    """The arguments of one forward of the transformer, by name."""

    arguments: Mapping[str, Any]

    @property
    def layout(self) -> Hashable:
        """Shapes, dtypes and devices of all tensors. Where they change, no stored output fits any more."""
        return tuple((name, _layout(value)) for name, value in self.arguments.items())

    @property
    def timestep(self) -> float | None:
        """The value of the timestep, the largest if there are several; None without one. On a GPU this waits for it."""
        value = next((self.arguments[name] for name in _TIMESTEPS if name in self.arguments), None)
        if isinstance(value, torch.Tensor) and value.numel() > 0 and value.device.type != "meta":
            return float(value.detach().max())
        return float(value) if isinstance(value, (int, float)) else None


def inputs_of(transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    """By the names that the class's forward gives its arguments."""
    names = list(inspect.signature(type(transformer).forward).parameters)[1:] if args else []
    return Inputs({**dict(zip(names, args, strict=False)), **kwargs})


def _layout(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, (list, tuple)):  # some models take a list of images
        return tuple(_layout(each) for each in value)
    return None
