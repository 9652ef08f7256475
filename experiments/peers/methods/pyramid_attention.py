"""Pyramid attention broadcast of diffusers: attention is computed every N-th step within a range of timesteps."""

from __future__ import annotations

from bench import Bench
from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
from peer import Setting

from methods.diffusers_hooks import cached, timestep_of

NAME = "diffusers PyramidAttentionBroadcast"
_ALWAYS = (-1, 1001)


def settings(bench: Bench, front: str | None) -> list[Setting]:
    kinds = [(2, _ALWAYS), (5, _ALWAYS), (2, (100, 800))]
    return [
        cached(
            bench,
            f"every {interval}" + ("" if span == _ALWAYS else f" in {span[0]}-{span[1]}"),
            apply_pyramid_attention_broadcast,
            lambda interval=interval, span=span: PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=interval,
                spatial_attention_timestep_skip_range=span,
                cross_attention_block_skip_range=interval,
                cross_attention_timestep_skip_range=span,
                current_timestep_callback=timestep_of(bench),
            ),
        )
        for interval, span in kinds
    ]
