"""Can this schedule be applied to this model? Everything that would give wrong images is refused here."""

from __future__ import annotations

from typing import Any

from torch import nn

from ecad.caching.hook import HOOK_NAME
from ecad.caching.state import Key
from ecad.errors import ModelError, ScheduleError
from ecad.models import ModelSpec, family_of_transformer
from ecad.schedule.schedule import Schedule


def check_model(pipeline: Any | None, transformer: nn.Module, schedule: Schedule) -> dict[Key, nn.Module]:
    """The component modules that the schedule is about, if it can be applied here; an error if not."""
    refuse_compiled(transformer, "the transformer")
    spec = family_of_transformer(type(transformer).__name__)
    if spec.family != schedule.family:
        raise ScheduleError(
            f"the schedule is for family {schedule.family!r}, the model is a {type(transformer).__name__} "
            f"of family {spec.family!r}"
        )
    counts = {name: len(getattr(transformer, name)) for name in spec.block_list_names}
    if counts != dict(schedule.shape.blocks):
        raise ScheduleError(
            f"the schedule is for blocks {dict(schedule.shape.blocks)}, the model has {counts}"
        )
    _refuse_other_caches(pipeline, transformer)
    return _component_modules(transformer, spec)


def refuse_compiled(module: nn.Module, name: str) -> None:
    """Compiled code calls the components it was traced with, not the hooks of a schedule."""
    if (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
    ):
        raise ModelError(
            f"{name} is compiled (torch.compile), so its components can no longer be reached: "
            "apply the schedule to the uncompiled pipeline"
        )


def _refuse_other_caches(pipeline: Any | None, transformer: nn.Module) -> None:
    config = getattr(transformer, "_cache_config", None)  # set by diffusers' transformer.enable_cache(...)
    if config is not None:
        raise ScheduleError(
            f"another cache ({type(config).__name__}) is enabled on the transformer: "
            "call pipe.transformer.disable_cache() before applying a schedule"
        )
    for target in (pipeline, transformer):
        if getattr(target, "_is_cached", False):  # the mark of cache-dit and ParaAttention
            raise ScheduleError(
                f"another cache is installed on {type(target).__name__} (its _is_cached is set): "
                "disable it before applying a schedule"
            )
    forward = type(transformer).__dict__.get("forward")
    if forward is not None and forward.__module__ != type(transformer).__module__:
        raise _foreign_forward(type(transformer).__name__, forward)
    for name, module in transformer.named_modules():
        if getattr(module, "_chunk_size", None) is not None:
            raise ModelError(
                f"{name} uses chunked feed-forward, which calls its component several times a step: "
                "switch it off (set_chunk_feed_forward(None)) before applying a schedule"
            )
        cache = _cache_of_diffusers(module)
        if cache:
            raise ScheduleError(
                f"another cache ({cache!r}) is installed on {name or 'the transformer'}: "
                "disable it before applying a schedule"
            )
    refuse_replaced_forward(transformer, "the transformer")


def refuse_replaced_forward(module: nn.Module, name: str) -> None:
    """Refuse a `forward` that neither the class, nor diffusers' hooks, nor accelerate's offloading has put there."""
    forward = module.__dict__.get("forward")
    if (
        forward is None
        or getattr(forward, "__func__", None) is type(module).forward
        or hasattr(module, "_hf_hook")
        or getattr(getattr(module, "_diffusers_hook", None), "hooks", None)
    ):
        return
    raise _foreign_forward(name, forward)


def _foreign_forward(name: str, forward: Any) -> ScheduleError:
    where = getattr(getattr(forward, "func", forward), "__module__", None) or type(forward).__name__
    return ScheduleError(
        f"the forward of {name} was replaced by another tool (code of {where!r}), perhaps another cache: "
        "remove it before applying a schedule"
    )


def _cache_of_diffusers(module: nn.Module) -> str | None:
    """Name of a cache of diffusers that sits on this module (see diffusers.hooks), or None."""
    registry = getattr(module, "_diffusers_hook", None)
    for name in registry.hooks if registry is not None else ():
        if name != HOOK_NAME and (
            "cache" in name or name.startswith(("pyramid_attention", "layer_skip", "fbc_"))
        ):
            return str(name)
    return None


def _component_modules(transformer: nn.Module, spec: ModelSpec) -> dict[Key, nn.Module]:
    modules: dict[Key, nn.Module] = {}
    for block_list in spec.block_lists:
        for block_index, block in enumerate(getattr(transformer, block_list.name)):
            where = f"{block_list.name}[{block_index}]"
            refuse_compiled(block, where)
            refuse_replaced_forward(block, where)
            for component_index, name in enumerate(block_list.component_names):
                module = getattr(block, name, None)
                if not isinstance(module, nn.Module):
                    raise ModelError(f"{where} has no component {name!r} to cache")
                refuse_compiled(module, f"{where}.{name}")
                refuse_replaced_forward(module, f"{where}.{name}")
                modules[block_list.name, block_index, component_index] = module
    return modules
