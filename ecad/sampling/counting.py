"""Work counted by torch while a model runs, where no formula knows it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ecad.caching.modules import Key, component_modules, config_of
from ecad.errors import ModelError
from ecad.families import Family
from ecad.families.family import ComponentNumbers, CountedWorkload

_DENOISERS = ("transformer", "transformer_2", "unet", "prior", "decoder")
# What a network that denoises is told of the noise; text encoders and autoencoders are not.
_NOISE_LEVELS = {"timestep", "timesteps", "timestep_ratio", "sigma", "sigmas", "r"}


class _FirstStepDone(BaseException):
    """Ends a pipeline's call after its first step."""


def flop_counter() -> FlopCounterMode:
    """torch's counter, which knows the attention kernels of all devices but that of CPUs."""

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    return FlopCounterMode(display=False, custom_mapping=on_cpu)


def counted_workload(pipe: Any, family: Family, run: Callable[[], object]) -> CountedWorkload:
    """What one step of one image costs: `run` makes one through the pipeline and is stopped after its first step.

    The count is that of the prompt in `run`: a pipeline that does not pad texts works less on a shorter one. All calls
    of a component in the step are one execution. Half of torch's FLOPs are MACs.
    """
    transformer = pipe.transformer
    modules = component_modules(transformer, family)
    flops: Counter[Key] = Counter()
    values: Counter[Key] = Counter()
    total = whole = 0

    with ExitStack() as stack:
        counter: FlopCounterMode = flop_counter()

        def watch(part: Key, module: torch.nn.Module) -> None:
            before = 0

            def enter(*_: Any) -> None:
                nonlocal before
                before = counter.get_total_flops()

            def leave(_module: Any, _args: Any, output: Any) -> None:
                flops[part] += counter.get_total_flops() - before
                values[part] += _numbers_in(output)

            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)

        for key, module in modules.items():
            watch(key, module)

        counting = ExitStack()  # of one forward; closed with the others should that fail
        stack.callback(counting.close)

        def begin(*_: Any) -> None:
            counting.enter_context(counter)

        def end(_module: Any, _args: Any, output: Any) -> None:
            nonlocal total, whole
            counting.close()
            total += counter.get_total_flops()
            whole += _numbers_in(output)

        stack.callback(transformer.register_forward_pre_hook(begin).remove)
        stack.callback(transformer.register_forward_hook(end).remove)
        stack.enter_context(_stopped_after_a_step(pipe.scheduler))
        try:
            run()
        except _FirstStepDone:
            pass
        else:
            raise ModelError(f"cannot count the work of a {type(pipe).__name__}: it took no step")
    config = config_of(transformer, family)
    blocks = family.block_counts(config)
    return CountedWorkload(
        family=family.name,
        transformer=MappingProxyType(config),
        component_macs=_by_part(family, blocks, {key: count // 2 for key, count in flops.items()}),
        constant_macs=(total - sum(flops.values())) // 2,
        output_values=_by_part(family, blocks, values),
        whole_output_values=whole,
    )


def _by_part(family: Family, blocks: Mapping[str, int], numbers: Mapping[Key, int]) -> ComponentNumbers:
    """One number for all blocks that have a component if it is the same in them, else one for each block."""
    found: dict[tuple[str, str], int | tuple[int, ...]] = {}
    for block_list in family.block_lists:
        present = block_list.present(blocks[block_list.name])
        for index, component in enumerate(block_list.component_names):
            each = tuple(
                numbers.get((block_list.name, block, index), 0) for block in range(blocks[block_list.name])
            )
            existing = {number for number, has in zip(each, present, strict=True) if has[index]}
            # What no block of the model has costs nothing.
            found[block_list.name, component] = each if len(existing) > 1 else max(existing, default=0)
    return found


@contextmanager
def counted_macs(pipe: Any) -> Iterator[list[float]]:
    """Collects the MACs of every forward of a pipeline's denoising networks, whatever and however many they are."""
    macs: list[float] = []
    counting = ExitStack()  # of one forward

    def begin(*_: Any) -> None:
        counter = counting.enter_context(flop_counter())
        counting.callback(lambda: macs.append(counter.get_total_flops() / 2))

    def end(*_: Any) -> None:
        counting.close()

    with ExitStack() as stack:
        for module in _denoisers(pipe):
            stack.callback(module.register_forward_pre_hook(begin).remove)
            stack.callback(module.register_forward_hook(end, always_call=True).remove)
        yield macs


def _denoisers(pipe: Any) -> list[torch.nn.Module]:
    """Its networks whose forward takes a noise level, as a prior's and a decoder's do, each once."""
    parts = {name: getattr(pipe, name, None) for name in _DENOISERS} | dict(getattr(pipe, "components", {}))
    found: dict[int, torch.nn.Module] = {}
    for name, module in parts.items():
        if isinstance(module, torch.nn.Module) and (
            name in _DENOISERS or _NOISE_LEVELS & set(inspect.signature(type(module).forward).parameters)
        ):
            found[id(module)] = module
    return list(found.values())


@contextmanager
def _stopped_after_a_step(scheduler: Any) -> Iterator[None]:
    def stop(*_: Any, **__: Any) -> None:
        raise _FirstStepDone

    own = scheduler.__dict__.get("step")  # another tool's
    scheduler.step = stop  # on the object, where it hides the class's
    try:
        yield
    finally:
        if own is None:
            del scheduler.step
        else:
            scheduler.step = own


def _numbers_in(output: Any) -> int:
    if isinstance(output, torch.Tensor):
        return output.numel()
    if isinstance(output, Mapping):
        return sum(map(_numbers_in, output.values()))
    return sum(map(_numbers_in, output)) if isinstance(output, (tuple, list)) else 0
