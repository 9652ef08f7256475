"""The text key and value cache of diffusers: tried, to have its reason."""

from __future__ import annotations

from bench import Bench
from diffusers.hooks import TextKVCacheConfig, apply_text_kv_cache
from peer import DoesNotFitError, Setting

from methods.diffusers_hooks import cached

NAME = "diffusers TextKVCache"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    setting = cached(bench, "default", apply_text_kv_cache, TextKVCacheConfig)
    with setting.switch():
        hooked = sum(
            bool(getattr(vars(block).get("_diffusers_hook"), "hooks", None))
            for block in bench.pipe.transformer.modules()
            if block is not bench.pipe.transformer
        )
    if hooked:
        return [setting]
    raise DoesNotFitError("it changes blocks of NucleusMoEImageTransformerBlock only, and finds none")
