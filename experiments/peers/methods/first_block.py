"""First-block cache of diffusers: where the first block's output changes little, the others' residual is reused."""

from __future__ import annotations

from bench import Bench
from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache
from peer import Setting

from methods.diffusers_hooks import cached

NAME = "diffusers FirstBlockCache"
_THRESHOLDS = {"flux-mini": (0.2, 0.4, 0.1, 0.3), "pixart-mini": (0.1, 0.2, 0.05)}


def settings(bench: Bench, front: str | None) -> list[Setting]:
    return [
        cached(
            bench,
            f"threshold {value:g}",
            apply_first_block_cache,
            lambda value=value: FirstBlockCacheConfig(threshold=value),
        )
        for value in _THRESHOLDS[bench.model]
    ]
