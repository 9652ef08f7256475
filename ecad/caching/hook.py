"""The hooks on component modules and on the transformer (diffusers' own hook mechanism)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from ecad.caching.block_run import BlockRun
from ecad.caching.blocks import KnownBlock
from ecad.caching.modules import Key
from ecad.caching.state import CacheState

HOOK_NAME = "ecad_component"


class _Hook(ModelHook):
    """What all kinds note when they are put on, to be taken off again without a trace."""

    def __init__(self, state: CacheState) -> None:
        super().__init__()
        self._state = state
        self.installed_forward: Any = None  # the module's forward with this hook in it
        self.made_registry = True  # no other tool had given the module a registry of hooks before


class ComponentHook(_Hook):
    """Replaces the forward of one component module by "recompute or reuse"."""

    def __init__(self, state: CacheState, key: Key) -> None:
        super().__init__(state)
        self._key = key

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        call = self._state.compiling.call_and_own
        return self._state.run(self._key, partial(call, self.fn_ref.original_forward), args, kwargs)


class BlockHook(_Hook):
    """Replaces the forward of a block whose class is known by code that decides for all its components at once."""

    def __init__(
        self, state: CacheState, known: KnownBlock, keys: tuple[Key, ...], blocks: Sequence[nn.Module]
    ) -> None:
        super().__init__(state)
        self._known = known
        self._keys = keys
        self._blocks = blocks  # of the same list, with the same code; this one is number `_number` of them
        self._number = -1

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        compiling = self._state.compiling
        run = self._state.enter_block(self._keys)
        if run is None:  # used outside a forward of the transformer: not ours to cache
            return compiling.call(self.fn_ref.original_forward, *args, **kwargs)
        if run.is_inside:
            return args[0] if args else kwargs["hidden_states"]
        summing = self._known.summing
        if run.sums is not None and summing is not None:
            return summing.read(run.sums, compiling.call_in_place, *args, **kwargs)
        args, kwargs = self._known.enter(run, compiling.is_on, *args, **kwargs)
        if self._number < 0:
            self._number = next(number for number, block in enumerate(self._blocks) if block is module)
        if compiling.is_on:
            result = self._run_compiled(run, args, kwargs)
        else:
            result = self._known.forward(run, self._blocks, self._number, *args, **kwargs)
        if run.feeds and summing is not None:
            summing.feed(run, compiling.call_in_place, module, compiling.summed_together)
        return self._known.leave(run, result)

    def _run_compiled(self, run: BlockRun, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        compiling, here = self._state.compiling, self._number
        together = compiling.reused_together
        blocks = self._blocks[here : here + together]
        if (
            self._known.is_chained
            and len(self._state.schedule.shape.blocks)
            == 1  # else another list's may run between them (Latte)
            and not any(run.runs)
            and len(self._blocks) == self._state.schedule.shape.blocks[self._keys[0][0]]
            and all(map(has_no_other_hooks, blocks))
        ):
            following = self._state.enter_ahead(self._keys, together - 1)
            if following:
                return compiling.run_chain(self._known, [run, *following], blocks, args, kwargs)
        return compiling.run_block(self._known, run, self._blocks[here], args, kwargs)


class TransformerHook(_Hook):
    """Replaces the forward of the transformer by "run or return the last output"."""

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self._state.run_transformer(self.fn_ref.original_forward, args, kwargs)


def has_no_other_hooks(module: nn.Module) -> bool:
    """Whether nobody but us does something before, after or instead of a module's forward."""
    registry = getattr(module, "_diffusers_hook", None)
    return (
        registry is not None
        and list(registry.hooks) == [HOOK_NAME]
        and vars(module).get("forward") is registry.hooks[HOOK_NAME].installed_forward
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


def add_transformer_hook(module: nn.Module, state: CacheState) -> None:
    _add_hook(module, TransformerHook(state))


def add_block_hook(
    module: nn.Module,
    state: CacheState,
    known: KnownBlock,
    keys: tuple[Key, ...],
    blocks: Sequence[nn.Module],
) -> None:
    """`blocks` are all that have this code in the same block list, in order."""
    _add_hook(module, BlockHook(state, known, keys, blocks))


def add_component_hook(module: nn.Module, state: CacheState, key: Key) -> None:
    _add_hook(module, ComponentHook(state, key))


def _add_hook(module: nn.Module, hook: _Hook) -> None:
    # Some pipelines give the transformer an empty registry of their own, which is to stay.
    hook.made_registry = "_diffusers_hook" not in vars(module)
    HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK_NAME)
    hook.installed_forward = module.forward = hook._state.compiling.taken_over(module.forward)


def remove_hook(module: nn.Module) -> None:
    """Take our hook off and leave no trace of it, so that the module is as it was."""
    registry = getattr(module, "_diffusers_hook", None)
    if registry is None or registry.get_hook(HOOK_NAME) is None:
        return
    hook = registry.get_hook(HOOK_NAME)
    outermost = module.__dict__.get("forward")
    place = registry._hook_order.index(HOOK_NAME)
    outer = registry._fn_refs[place + 1] if place + 1 < len(registry._fn_refs) else None
    outer_forward = getattr(outer, "forward", None)
    registry.remove_hook(HOOK_NAME, recurse=False)
    if outer is not None and outer.original_forward is not None:
        # A hook on top of ours that replaces the forward, as caches do: diffusers would now go past it.
        outer.forward, outer.original_forward = outer_forward, hook.fn_ref.original_forward
    if not registry.hooks:
        if hook.made_registry:
            del module._diffusers_hook
        if outermost is not hook.installed_forward:
            _keep_what_others_did(module, outermost, hook.installed_forward)
        # The registry puts the original bound method back as an instance attribute; without one, the class's
        # own method serves, as before. Anything else there (an offload wrapper) is not ours and stays.
        forward = module.__dict__.get("forward")
        if getattr(forward, "__func__", None) is type(module).forward:
            del module.__dict__["forward"]


def _keep_what_others_did(module: nn.Module, outermost: Any, ours: Any) -> None:
    """Undo the registry's reset of `forward` where a wrapper was put round ours, or ours was taken off, meanwhile.

    Accelerate's sequential offloading does both: its wrapper calls `module._old_forward`, which was ours and is
    now what we had wrapped. A wrapper that holds on to ours still works: it runs the component, as nothing is
    applied any more.
    """
    wrapped_by_us = module.__dict__.pop("forward")
    if outermost is not None:
        module.__dict__["forward"] = outermost
    if module.__dict__.get("_old_forward") is ours:
        module._old_forward = wrapped_by_us
