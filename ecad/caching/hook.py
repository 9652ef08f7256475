"""The hook on a component module (diffusers' own hook mechanism)."""

from __future__ import annotations

from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

from ecad.caching.state import CacheState, Key

HOOK_NAME = "ecad_component"


class ComponentHook(ModelHook):
    """Replaces the forward of one component module by "recompute or reuse"."""

    def __init__(self, state: CacheState, key: Key) -> None:
        super().__init__()
        self._state = state
        self._key = key

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self._state.run(self._key, self.fn_ref.original_forward, args, kwargs)


def add_component_hook(module: nn.Module, state: CacheState, key: Key) -> None:
    HookRegistry.check_if_exists_or_initialize(module).register_hook(ComponentHook(state, key), HOOK_NAME)


def remove_component_hook(module: nn.Module) -> None:
    """Take our hook off and leave no trace of it, so that the module is as it was."""
    registry = getattr(module, "_diffusers_hook", None)
    if registry is None or registry.get_hook(HOOK_NAME) is None:
        return
    registry.remove_hook(HOOK_NAME, recurse=False)
    if not registry.hooks:
        del module._diffusers_hook
        # The registry puts the original bound method back as an instance attribute; without one, the class's
        # own method serves, as before. Anything else there (an offload wrapper) is not ours and stays.
        forward = module.__dict__.get("forward")
        if getattr(forward, "__func__", None) is type(module).forward:
            del module.__dict__["forward"]
