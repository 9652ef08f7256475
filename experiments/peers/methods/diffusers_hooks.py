"""diffusers' caches: by `enable_cache` where the transformer has it, else by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench import Bench
from diffusers.hooks import HookRegistry
from diffusers.hooks.hooks import CacheContext, _set_cache_context
from peer import Call, Setting


def cached(bench: Bench, name: str, apply: Callable[[Any, Any], None], config: Callable[[], Any]) -> Setting:
    """`config` makes a new configuration for each call: diffusers writes into some.

    PixArt's transformer has neither `enable_cache` nor a cache context: the hooks are put on by diffusers' function
    of each cache, the context is set by its private one, and all hooks that are not ecad's are taken off.
    """
    transformer = bench.pipe.transformer

    @contextmanager
    def switch() -> Iterator[Call]:
        if hasattr(transformer, "enable_cache"):
            transformer.enable_cache(config())
            try:
                yield Call()
            finally:
                transformer.disable_cache()
            return
        apply(transformer, config())
        _set_cache_context(transformer, CacheContext("cond"))
        try:
            yield Call()
        finally:
            for module in transformer.modules():
                for hook in list(getattr(vars(module).get("_diffusers_hook"), "hooks", ())):
                    HookRegistry.check_if_exists_or_initialize(module).remove_hook(hook, recurse=False)

    return Setting(name if hasattr(transformer, "enable_cache") else f"{name} (by hand)", switch)


def timestep_of(bench: Bench) -> Callable[[], float]:
    """The current timestep, for caches that ask. PixArt's pipeline does not say it, its scheduler does."""

    def now() -> float:
        if hasattr(bench.pipe, "current_timestep"):
            return float(bench.pipe.current_timestep)
        scheduler = bench.pipe.scheduler
        return float(scheduler.timesteps[scheduler.step_index or 0])

    return now
