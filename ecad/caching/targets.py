"""What `ecad.apply` is given, and what diffusers remembers about it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ecad.errors import ModelError


def find_transformer(target: Any) -> tuple[Any | None, nn.Module]:
    """(pipeline or None, transformer); looks through wrappers."""
    pipeline, transformer = None, target
    if not isinstance(target, nn.Module):
        pipeline, transformer = target, getattr(target, "transformer", None)
        if not isinstance(transformer, nn.Module):
            raise ModelError(
                f"{type(target).__name__} has no transformer to cache: expected a diffusers pipeline with a "
                "diffusion transformer, or the transformer itself"
            )
        if getattr(pipeline, "scheduler", None) is None:
            raise ModelError(
                f"{type(target).__name__} has no scheduler: apply the schedule to its transformer"
            )
    # Wrappers of PEFT and of torch.compile, in any order.
    while True:
        if hasattr(transformer, "get_base_model"):
            transformer = transformer.get_base_model()
        elif isinstance(getattr(transformer, "_orig_mod", None), nn.Module):
            transformer = transformer._orig_mod
        else:
            return pipeline, transformer


def forget_cached_registries(transformer: nn.Module) -> None:
    """diffusers caches the list of hooked children at the first use (issue 14037): make it look again."""
    for module in transformer.modules():
        registry = getattr(module, "_diffusers_hook", None)
        if registry is not None and hasattr(registry, "_child_registries_cache"):
            registry._child_registries_cache = None
