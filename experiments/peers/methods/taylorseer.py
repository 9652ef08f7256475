"""TaylorSeer of diffusers: outputs between computed steps are extrapolated.

"lite" skips the blocks and extrapolates the last projection's output, "components" extrapolates what ecad reuses; the
default extrapolates attention in bfloat16. An interval of N computes every N-th step after the warm-up.
"""

from __future__ import annotations

import torch
from bench import Bench
from diffusers.hooks import TaylorSeerCacheConfig, apply_taylorseer_cache
from peer import Setting

from methods.diffusers_hooks import cached

NAME = "diffusers TaylorSeer"
_COMPONENTS = [
    r"transformer_blocks\.\d+\.(attn|attn1|attn2|ff|ff_context)",
    r"single_transformer_blocks\.\d+\.(attn|proj_mlp|proj_out)",
]


def settings(bench: Bench, front: str | None) -> list[Setting]:
    exact = {"taylor_factors_dtype": torch.float32}
    lite = {**exact, "use_lite_mode": True, "disable_cache_before_step": 1}
    whole = {**exact, "cache_identifiers": _COMPONENTS, "disable_cache_before_step": 1}
    kinds = {
        "lite, interval 3, order 1": {**lite, "cache_interval": 3, "max_order": 1},
        "components, interval 3, order 1": {**whole, "cache_interval": 3, "max_order": 1},
        "default": {},
        "lite, interval 2, order 1": {**lite, "cache_interval": 2, "max_order": 1},
        "components, interval 5, order 1": {**whole, "cache_interval": 5, "max_order": 1},
    }
    return [
        cached(bench, name, apply_taylorseer_cache, lambda options=options: TaylorSeerCacheConfig(**options))
        for name, options in kinds.items()
    ]
