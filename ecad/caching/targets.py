"""What `ecad.apply` is given, and what diffusers remembers about it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ecad.errors import ModelError

_ATTRIBUTES = ("transformer", "transformer_2")  # Wan 2.2 has one for the noisier steps and one for the others


def find_transformers(target: Any) -> tuple[Any | None, list[nn.Module]]:
    """(pipeline or None, its transformers, mostly one); looks through wrappers."""
    if isinstance(target, nn.Module):
        return None, [_unwrapped(target)]
    found = [getattr(target, name, None) for name in _ATTRIBUTES]
    transformers = [each for each in found if isinstance(each, nn.Module)]
    if not transformers:
        raise ModelError(
            f"{type(target).__name__} has no transformer to cache: expected a diffusers pipeline with a "
            "diffusion transformer, or the transformer itself"
        )
    if getattr(target, "scheduler", None) is None:
        raise ModelError(f"{type(target).__name__} has no scheduler: apply the schedule to its transformer")
    return target, list(dict.fromkeys(map(_unwrapped, transformers)))


def _unwrapped(transformer: Any) -> Any:
    """Without wrappers of PEFT and of torch.compile, in any order."""
    while True:
        if hasattr(transformer, "get_base_model"):
            transformer = transformer.get_base_model()
        elif isinstance(getattr(transformer, "_orig_mod", None), nn.Module):
            transformer = transformer._orig_mod
        else:
            return transformer


def forget_cached_registries(transformer: nn.Module) -> None:
    """diffusers caches the list of hooked children at the first use (issue 14037): make it look again."""
    for module in transformer.modules():
        registry = getattr(module, "_diffusers_hook", None)
        if registry is not None and hasattr(registry, "_child_registries_cache"):
            registry._child_registries_cache = None
