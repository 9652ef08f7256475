"""FasterCache of diffusers: attention is extrapolated, and with guidance the unconditional half approximated."""

from __future__ import annotations

from bench import Bench
from diffusers.hooks import FasterCacheConfig, apply_faster_cache
from peer import Setting

from methods.diffusers_hooks import cached, timestep_of

NAME = "diffusers FasterCache"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    kinds = [(2, (-1, 681)), (3, (-1, 681))]
    return [
        cached(
            bench,
            f"every {interval} below {span[1]}",
            apply_faster_cache,
            lambda interval=interval, span=span: FasterCacheConfig(
                spatial_attention_block_skip_range=interval,
                spatial_attention_timestep_skip_range=span,
                tensor_format="BCHW",
                is_guidance_distilled=not bench.subject.sampler.has_guidance_rows,
                current_timestep_callback=timestep_of(bench),
            ),
        )
        for interval, span in kinds
    ]
