"""Can this schedule be applied to this model? Everything that would give wrong images is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ecad.caching.hook import HOOK_NAME
from ecad.caching.modules import Key, blocks_of, component_modules, named_components
from ecad.errors import ModelError, ScheduleError
from ecad.families import Family, family_of_transformer
from ecad.schedule.schedule import Schedule

_COMPILED_FORWARD = (
    "the forward of {} was replaced by a compiled one (module.forward = torch.compile(...)), which a schedule cannot "
    "reach into: compile the module instead (module.compile() or torch.compile(module))"
)


def check_model(pipeline: Any | None, transformer: nn.Module, schedule: Schedule) -> dict[Key, nn.Module]:
    """The component modules that the schedule is about, if it can be applied here; an error if not."""
    _refuse_compiled_forward(transformer, "the transformer")
    family = family_of_transformer(type(transformer).__name__)
    if family.name != schedule.family:
        raise ScheduleError(
            f"the schedule is for family {schedule.family!r}, the model is a {type(transformer).__name__} "
            f"of family {family.name!r}"
        )
    counts = {each.name: len(blocks_of(transformer, each)) for each in family.block_lists}
    if counts != dict(schedule.shape.blocks):
        raise ScheduleError(
            f"the schedule is for blocks {dict(schedule.shape.blocks)}, the model has {counts}"
        )
    _refuse_other_caches(pipeline, transformer)
    _check_components(transformer, family)
    return component_modules(transformer, family)


def refuse_different_families(pipeline: Any | None, transformers: Sequence[nn.Module]) -> None:
    """One schedule is for all transformers of a pipeline."""
    if len(transformers) == 1:
        return
    families = {type(each).__name__: family_of_transformer(type(each).__name__).name for each in transformers}
    if len(set(families.values())) > 1:
        named = " and ".join(f"a {name} of family {family!r}" for name, family in families.items())
        raise ModelError(
            f"{type(pipeline).__name__} has {named}, and a schedule is for one family: apply it to one of them alone "
            "(ecad.apply(pipe.transformer, ...))"
        )


def _refuse_compiled_forward(module: nn.Module, name: str) -> None:
    """A compiled function in the forward's place has the blocks' code in it and goes past whatever comes later."""
    if hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable"):
        raise ModelError(_COMPILED_FORWARD.format(name))


def is_compiled(module: nn.Module) -> bool:
    """By `module.compile()` or as `torch.compile(module)`."""
    return module._compiled_call_impl is not None or hasattr(module, "_orig_mod")


def refuse_later_tools(transformer: nn.Module) -> None:
    """Called at the beginning of each call: what came after the schedule and does not go together with it.

    Two caches at once give images that neither of them stands for.
    """
    if hasattr(transformer.__dict__.get("forward"), "_torchdynamo_orig_callable"):
        raise ScheduleError(_COMPILED_FORWARD.format("the transformer"))
    config = getattr(transformer, "_cache_config", None)
    found = [type(config).__name__] if config is not None else []
    found += [name for module in transformer.modules() if (name := _cache_of_diffusers(module)) is not None]
    if found:
        raise ScheduleError(
            f"another cache ({found[0]}) was enabled on the transformer while a schedule is applied: disable it "
            "(pipe.transformer.disable_cache()), or call ecad.remove(pipe) to use it instead"
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


def _check_components(transformer: nn.Module, family: Family) -> None:
    """Refuse blocks and components that calls would go past our hooks in."""
    for block_list in family.block_lists:
        for number, block in enumerate(blocks_of(transformer, block_list)):
            _refuse_out_of_reach(block, f"{block_list.name}[{number}]")
    for where, module in named_components(transformer, family):
        _refuse_out_of_reach(module, where)


def _refuse_out_of_reach(module: nn.Module, name: str) -> None:
    _refuse_compiled_forward(module, name)
    refuse_replaced_forward(module, name)
